# mlxn_flags(target): warnings, sanitizers and the floating-point rules of the project.
function(mlxn_flags target)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wnon-virtual-dtor;-Wold-style-cast;-Wno-missing-field-initializers>
    # The standard library of g++ 12 deprecates what its own std::stable_sort calls.
    $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wno-deprecated-declarations>
    # Decodes promise ggml's bits: no product may be fused into a sum unless the source says so.
    $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
  if(MLXN_WERROR)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  endif()
  if(MLXN_SANITIZE)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${MLXN_SANITIZE};-fno-sanitize-recover=all;-fno-omit-frame-pointer>)
    target_link_options(${target} PRIVATE -fsanitize=${MLXN_SANITIZE})
    # Compilers differ in how they say which sanitizer is on, and files can be exempt from it.
    target_compile_definitions(${target} PRIVATE MLXN_SANITIZED=1)
    if(MLXN_SANITIZE MATCHES address)
      target_compile_definitions(${target} PRIVATE MLXN_ASAN=1)
    elseif(MLXN_SANITIZE MATCHES thread)
      target_compile_definitions(${target} PRIVATE MLXN_TSAN=1)
    endif()
  endif()
endfunction()

# mlxn_precompile(target headers): headers of other libraries that most of the target's files include.
function(mlxn_precompile target)
  if(MLXN_PCH)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
endfunction()

# mlxn_compile_fast(target): for programs whose work is done in the library. Sanitizers take longest to optimise for.
function(mlxn_compile_fast target)
  if(MLXN_SANITIZE)
    target_compile_options(${target} PRIVATE -O0)
  else()
    target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
  endif()
  if(MLXN_PCH)
    # GCC 12 then shows its false alarms in the standard library's strings (GCC bug 105651).
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-array-bounds;-Wno-stringop-overflow;-Wno-stringop-overread>)
  endif()
endfunction()

# For GPU kernels: their registers are arrays at the end of structs, which clang's sanitizers else take for longer ones.
set(MLXN_EXACT_ARRAYS "")
if(MLXN_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  set(MLXN_EXACT_ARRAYS -fstrict-flex-arrays=3)
endif()
