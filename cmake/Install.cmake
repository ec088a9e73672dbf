# Headers, library, command, find_package(mlx_native) and pkg-config mlx-native, all relocatable.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mlx_native)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/mlx_native DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.h)
install(TARGETS mlx_native EXPORT mlx_native)
if(MLXN_BUILD_TOOLS)
  install(TARGETS mlxn)
endif()
install(EXPORT mlx_native NAMESPACE mlx_native:: FILE mlx_native-targets.cmake DESTINATION ${package_dir})

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/mlx_native-config.cmake.in
  ${PROJECT_BINARY_DIR}/package/mlx_native-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/mlx_native-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/package/mlx_native-config.cmake
  ${PROJECT_BINARY_DIR}/package/mlx_native-config-version.cmake DESTINATION ${package_dir})

# What a program links besides the library itself. A static library passes on what it is made of.
set(private_libs "-pthread")
if(MLXN_CUDA)
  string(APPEND private_libs " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -ldl -lrt")
endif()
string(APPEND private_libs " -lstdc++ -lm")
if(BUILD_SHARED_LIBS)
  set(pc_libs "")
  set(pc_libs_private "${private_libs}")
else()
  set(pc_libs " ${private_libs}")
  set(pc_libs_private "")
endif()
file(RELATIVE_PATH pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
configure_file(${CMAKE_CURRENT_LIST_DIR}/mlx-native.pc.in ${PROJECT_BINARY_DIR}/package/mlx-native.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/package/mlx-native.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
