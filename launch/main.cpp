#include <cstdio>

#include "core/error.h"

int main() {
  std::puts("growmerge");
  return 0;
}
