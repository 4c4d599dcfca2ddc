# The CUDA back end: one shared object beside the program, opened at run time (core/transformer/backend.h). Kernels
# lie beside their CPU twins in core/ops, what joins them to LibTorch in core/ops/cuda, the NCCL communicator in distributed/cuda.
if(NOT GROWMERGE_HAVE_CUDA)
  if(GROWMERGE_REQUIRE_CUDA)
    message(FATAL_ERROR "GROWMERGE_REQUIRE_CUDA is set, but: ${why_no_cuda}")
  endif()
  return()
endif()
find_package(CUDAToolkit REQUIRED)
file(GLOB cuda_sources CONFIGURE_DEPENDS core/ops/*.cu core/ops/cuda/*.cpp)
add_library(growmerge_cuda SHARED ${cuda_sources} distributed/cuda/backend.cpp distributed/cuda/graph.cpp)
growmerge_flags(growmerge_cuda)
target_include_directories(growmerge_cuda SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
target_compile_options(growmerge_cuda PRIVATE
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall$<$<BOOL:${GROWMERGE_WERROR}>:;-Werror=all-warnings;-Xcompiler=-Werror>>)
# AdamW gives the bits of its CPU twin: no product and sum in one rounding.
set_source_files_properties(core/ops/adamw.cu PROPERTIES COMPILE_OPTIONS "-fmad=false")
target_link_libraries(growmerge_cuda PRIVATE growmerge::core growmerge_torch CUDA::cudart CUDA::cublasLt)
target_link_options(growmerge_cuda PRIVATE -Wl,--no-as-needed
  "${TORCH_DIR}/lib/libtorch_cuda.so" "${TORCH_DIR}/lib/libc10_cuda.so" -Wl,--as-needed)

# One libnccl per process: the one that libtorch_cuda finds, which is the wheel's where it is there.
set(nccl_wheel "${TORCH_DIR}/../nvidia/nccl")
find_path(NCCL_INCLUDE_DIR nccl.h HINTS "${nccl_wheel}/include" ${CUDAToolkit_INCLUDE_DIRS})
find_library(NCCL_LIBRARY NAMES libnccl.so.2 nccl
  HINTS "${nccl_wheel}/lib" ${CUDAToolkit_LIBRARY_DIR} "${CUDAToolkit_LIBRARY_ROOT}/lib")
if(NCCL_INCLUDE_DIR AND NCCL_LIBRARY)
  message(STATUS "NCCL: ${NCCL_INCLUDE_DIR}/nccl.h, ${NCCL_LIBRARY}")
  target_sources(growmerge_cuda PRIVATE distributed/cuda/nccl_communicator.cpp)
  target_include_directories(growmerge_cuda SYSTEM PRIVATE ${NCCL_INCLUDE_DIR})
  target_compile_definitions(growmerge_cuda PRIVATE GROWMERGE_HAVE_NCCL)
  target_link_libraries(growmerge_cuda PRIVATE ${NCCL_LIBRARY})
else()
  message(WARNING "nccl.h or libnccl.so.2 was not found: the CUDA back end is built without NCCL, so training on "
                  "several GPUs is not possible (pip install nvidia-nccl-cu13==2.28.9 brings both)")
endif()
set_target_properties(growmerge_cuda PROPERTIES
  LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin" CUDA_RUNTIME_LIBRARY Shared)
