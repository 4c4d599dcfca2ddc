#include "launch/cli.h"

int main(int argc, char** argv) { return growmerge::launch::run_command_line(argc, argv); }
