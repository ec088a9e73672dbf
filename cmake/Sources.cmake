# mlxn_sources(out room): the .cpp files of a room, tests left out, and without what src/cpu/CMakeLists.txt compiles once
# per ISA. A new file needs no edit of a list.
function(mlxn_sources out room)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${room}/*.cpp)
  list(FILTER files EXCLUDE REGEX "_test\\.cpp$|/cpu/(generic|simd)/")
  set(${out} ${files} PARENT_SCOPE)
endfunction()

# mlxn_formats(out): the names of src/formats/list.h, such as Q4_K.
function(mlxn_formats out)
  set(list_file ${PROJECT_SOURCE_DIR}/src/formats/list.h)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${list_file})
  file(READ ${list_file} text)
  string(REGEX MATCHALL "\n +MLXN_FORMAT\\([A-Za-z0-9_]+," lines "${text}")
  set(names "")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE ".*\\((.*)," "\\1" name "${line}")
    list(APPEND names ${name})
  endforeach()
  set(${out} ${names} PARENT_SCOPE)
endfunction()
