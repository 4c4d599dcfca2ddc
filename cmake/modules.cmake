# growmerge_module(NAME [DEPENDS ...] [EXTERNAL ...]): one static library per folder, of all its sources.
# DEPENDS are other modules and are public; EXTERNAL are third-party targets and stay private.
set(growmerge_warnings -Wall -Wextra -Wno-unused-parameter -Winvalid-pch
    -Wno-restrict)  # g++ 12 sees overlaps in std::string operator+ that are not there (GCC bug 105329)
if(GROWMERGE_WERROR)
  list(APPEND growmerge_warnings -Werror)
endif()

function(growmerge_flags target)
  target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}")
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${growmerge_warnings}>)
  # One header of LibTorch's brings all operators' unless told that each is included by name.
  target_compile_definitions(${target} PRIVATE OMPI_SKIP_MPICXX AT_PER_OPERATOR_HEADERS)
endfunction()

# growmerge_pch(TARGET [OWNER]): shares the precompiled header of the rooms, or of OWNER (tests have one of their own).
function(growmerge_pch target)
  if(NOT GROWMERGE_PCH)
    return()
  endif()
  set(owner growmerge_core)
  set(header "${CMAKE_SOURCE_DIR}/core/pch.h")
  if(ARGN)
    set(owner ${ARGN})
    set(header "${CMAKE_SOURCE_DIR}/tests/support/pch.h")
  endif()
  # Headers that come by the precompiled one no longer count as the system's, whose warnings are not shown; g++ 12 is
  # wrong about these two in its own std::string.
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-stringop-overflow;-Wno-array-bounds>")
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>")  # for ccache
  if(target STREQUAL owner)
    target_precompile_headers(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${header}>")
  else()
    target_precompile_headers(${target} REUSE_FROM ${owner})
  endif()
endfunction()

function(growmerge_module name)
  cmake_parse_arguments(arg "" "" "DEPENDS;EXTERNAL" ${ARGN})
  # Names relative to the folder, so that the path of the checkout cannot match.
  file(GLOB sources CONFIGURE_DEPENDS RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp"
       "${CMAKE_CURRENT_SOURCE_DIR}/*/*.cpp")
  list(FILTER sources EXCLUDE REGEX "^main\\.cpp$|(^|/)cuda/")
  add_library(growmerge_${name} STATIC ${sources})
  add_library(growmerge::${name} ALIAS growmerge_${name})
  growmerge_flags(growmerge_${name})
  growmerge_pch(growmerge_${name})
  target_link_libraries(growmerge_${name} PUBLIC ${arg_DEPENDS} growmerge_torch PRIVATE ${arg_EXTERNAL})
endfunction()
