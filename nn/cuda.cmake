# mien_cuda.so, the CUDA module: built when there is a CUDA compiler, opened at run time, linked by nothing.
# cuBLASLt and cuDNN may be part of the toolkit, of the system, or of NVIDIA's Python wheels (MIEN_NVIDIA_WHEELS: the folder `nvidia`
# in which those lie; asked of python3 when it is not set). NCCL is opened at run time: no header is needed.
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  message(STATUS "CUDA module: off, there is no CUDA compiler")
  return()
endif()
set(CMAKE_CUDA_ARCHITECTURES 80 CACHE STRING "") # for the test of the compiler; the module sets its own
enable_language(CUDA)
find_package(CUDAToolkit QUIET)
if(NOT CUDAToolkit_FOUND OR CUDAToolkit_VERSION VERSION_LESS 12.4)
  message(STATUS "CUDA module: off, it needs CUDA 12.4, here is '${CUDAToolkit_VERSION}'")
  return()
endif()

if(NOT DEFINED MIEN_NVIDIA_WHEELS)
  execute_process(COMMAND python3 -c "import nvidia; print(list(nvidia.__path__)[0])" OUTPUT_VARIABLE wheels
    ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  set(MIEN_NVIDIA_WHEELS "${wheels}" CACHE PATH "Folder of NVIDIA's Python wheels")
endif()
file(GLOB wheel_include ${MIEN_NVIDIA_WHEELS}/cu*/include ${MIEN_NVIDIA_WHEELS}/cudnn/include ${MIEN_NVIDIA_WHEELS}/nccl/include)
file(GLOB wheel_lib ${MIEN_NVIDIA_WHEELS}/cu*/lib ${MIEN_NVIDIA_WHEELS}/cudnn/lib ${MIEN_NVIDIA_WHEELS}/nccl/lib)
find_path(CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS} PATHS ${wheel_include})
find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 HINTS ${CUDAToolkit_LIBRARY_DIR} PATHS ${wheel_lib})
find_path(CUBLASLT_INCLUDE cublasLt.h HINTS ${CUDAToolkit_INCLUDE_DIRS} PATHS ${wheel_include})
find_library(CUBLASLT_LIBRARY NAMES cublasLt libcublasLt.so.${CUDAToolkit_VERSION_MAJOR} HINTS ${CUDAToolkit_LIBRARY_DIR}
  PATHS ${wheel_lib})
if(EXISTS "${CUDNN_INCLUDE}/cudnn_version.h")
  file(STRINGS "${CUDNN_INCLUDE}/cudnn_version.h" cudnn_major REGEX "define CUDNN_MAJOR +[0-9]")
endif()
if(NOT cudnn_major MATCHES "(9|[1-9][0-9])$" OR NOT CUDNN_LIBRARY OR NOT CUBLASLT_INCLUDE OR NOT CUBLASLT_LIBRARY)
  message(STATUS "CUDA module: off, it needs cuDNN 9 and cuBLASLt (in the toolkit, the system or NVIDIA's Python wheels)")
  return()
endif()

# Machine code for what the toolkit knows of 8.0, 9.0 and 10.0; PTX of 9.0 for what comes later.
set(architectures 80-real 90-real)
if(CUDAToolkit_VERSION VERSION_GREATER_EQUAL 12.8)
  list(APPEND architectures 100-real)
endif()
list(APPEND architectures 90-virtual)
set(MIEN_CUDA_ARCHITECTURES "${architectures}" CACHE STRING "Architectures of the CUDA module")

file(GLOB cuda_sources CONFIGURE_DEPENDS nn/*.cu nn/ops/*.cu)
add_library(mien_cuda MODULE ${cuda_sources})
get_filename_component(cudnn_dir ${CUDNN_LIBRARY} DIRECTORY)
get_filename_component(cublaslt_dir ${CUBLASLT_LIBRARY} DIRECTORY)
set(library_dirs ${CUDAToolkit_LIBRARY_DIR} ${cublaslt_dir} ${cudnn_dir})
list(REMOVE_DUPLICATES library_dirs)
set_target_properties(mien_cuda PROPERTIES PREFIX "" CUDA_STANDARD 20 CUDA_ARCHITECTURES "${MIEN_CUDA_ARCHITECTURES}"
  CUDA_RUNTIME_LIBRARY Static LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}
  BUILD_RPATH "${library_dirs}" INSTALL_RPATH "${library_dirs}")
target_include_directories(mien_cuda PRIVATE ${CMAKE_SOURCE_DIR} ${CUDNN_INCLUDE})
# Last of all, as there are other headers of the toolkit beside it, perhaps of another version.
target_compile_options(mien_cuda PRIVATE -Xcompiler=-idirafter${CUBLASLT_INCLUDE})
target_compile_definitions(mien_cuda PRIVATE _GNU_SOURCE MIEN_VERSION="${PROJECT_VERSION}")
target_compile_options(mien_cuda PRIVATE $<$<BOOL:${MIEN_WERROR}>:-Werror=all-warnings>
  -Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers)
find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS ${CUDAToolkit_LIBRARY_DIR} PATHS ${wheel_lib})
if(NCCL_LIBRARY)
  get_filename_component(nccl_dir ${NCCL_LIBRARY} DIRECTORY)
  target_compile_definitions(mien_cuda PRIVATE MIEN_NCCL_DIR="${nccl_dir}")
endif()
# What ptxas says of each kernel is kept beside the objects, for the test gpu.resources.
target_compile_options(mien_cuda PRIVATE -Xptxas=-v)
set(launcher ${CMAKE_SOURCE_DIR}/tests/gpu/resources.sh run ${CMAKE_CUDA_COMPILER_LAUNCHER})
set_target_properties(mien_cuda PROPERTIES
  CUDA_COMPILER_LAUNCHER "${launcher}")
target_link_libraries(mien_cuda PRIVATE ${CUBLASLT_LIBRARY} ${CUDNN_LIBRARY})
message(STATUS "CUDA module: on, CUDA ${CUDAToolkit_VERSION}, cuDNN ${CUDNN_LIBRARY}")
