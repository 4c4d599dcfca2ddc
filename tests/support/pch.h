// The tests' precompiled header: the rooms', and what nearly every test includes beside it.
#pragma once

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/pch.h"
