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
    target_compile_definitions(${target} PRIVATE MLXN_SANITIZED=1)
  endif()
endfunction()
