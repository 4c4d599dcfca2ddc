#include "distributed/training_checkpoint.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/log.h"
#include "core/store/hashes.h"
#include "core/store/safetensors.h"
#include "distributed/sharding/whole_model.h"

namespace growmerge::distributed {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kState = "trainer/state.json";
constexpr const char* kChecksum = "xxh3_128";
constexpr const char* kMoments = "trainer/moments.safetensors";
// As a suffix it hides a directory from step_of().
constexpr const char* kDamaged = ".damaged";
constexpr const char* kMaster = "trainer/master.safetensors";

/// N of "step-N", or nothing.
std::optional<std::int64_t> step_of(const fs::path& dir) {
  const std::string name = dir.filename().string();
  if (!name.starts_with("step-")) {
    return std::nullopt;
  }
  std::int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, failed] = std::from_chars(name.data() + 5, end, step);
  return failed == std::errc() && stop == end ? std::optional(step) : std::nullopt;
}

/// Whole checkpoints by name, newest first.
std::vector<fs::path> step_directories(const fs::path& work_dir) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  if (fs::is_directory(work_dir)) {
    for (const auto& entry : fs::directory_iterator(work_dir)) {
      const auto step = step_of(entry.path());
      if (entry.is_directory() && step) {
        found.emplace_back(*step, entry.path());
      }
    }
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<fs::path> out;
  for (auto& [step, path] : found) {
    out.push_back(std::move(path));
  }
  return out;
}

/// Relative and sorted: the list goes into state.json.
std::vector<fs::path> files_below(const fs::path& dir) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    if (entry.is_regular_file()) {
      out.push_back(entry.path().lexically_relative(dir));
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// Of the fields, in the order and spelling in which they are written.
std::string checksum(Json json) {
  json.erase(kChecksum);
  const std::string text = json.dump();
  return hash_bytes(text.data(), text.size());
}

void write_state_json(const fs::path& dir, Json json) {
  json[kChecksum] = checksum(json);
  write_file_atomically(dir / kState, json.dump(1) + "\n");
}

void write_state(const fs::path& dir, const TrainingState& state, const AdamWState& optimizer) {
  Json json;
  json["version"] = TrainingState::kVersion;
  json["step"] = state.step;
  json["num_steps"] = state.num_steps;
  json["next_row"] = state.next_row;
  json["tokens"] = state.tokens;
  json["flops"] = state.flops;
  json["last_eval_step"] = state.last_eval_step;
  json["held_out"] = state.held_out;
  json["optimizer_step"] = optimizer.step;
  json["stream"] = state.stream;
  json["start"] = state.start;
  json["config"] = state.config;
  json["window"] = state.window;
  json["files"] = Json::object();
  for (const fs::path& file : files_below(dir)) {
    json["files"][file.string()] = {{"bytes", fs::file_size(dir / file)},
                                    {"xxh3_128", hash_file(dir / file)}};
    // A name that survives a power cut must not stand for contents that did not.
    sync_path(dir / file);
  }
  write_state_json(dir, std::move(json));
}

Json read_state_json(const fs::path& dir) {
  const fs::path path = dir / kState;
  const Json json = Json::parse(read_json_text(path), nullptr, false);
  GM_CHECK(json.is_object(), kCorrupt, path.string(), ": not a JSON object");
  const int version = json.value("version", 0);
  GM_CHECK(version == TrainingState::kVersion, kUnsupported, path.string(), ": version ", version,
           ", this growmerge reads ", TrainingState::kVersion,
           ": let the growmerge that wrote it finish the run");
  const auto recorded = json.find(kChecksum);
  GM_CHECK(recorded != json.end() && *recorded == checksum(json), kCorrupt, path.string(),
           ": its fields do not have their recorded checksum");
  return json;
}

/// Empty, or what is wrong with the files that state.json lists. Errors: kUnsupported (it is whole
/// as far as its own version knows), kIo.
std::string damage(const fs::path& dir) {
  if (!fs::exists(dir / kState)) {
    return std::string(kState) + " is missing";
  }
  try {
    const Json state = read_state_json(dir);
    const std::int64_t step = state.at("step").get<std::int64_t>();
    const std::int64_t named = step_of(dir).value_or(state.at("num_steps").get<std::int64_t>());
    if (step != named) {
      return concat("its state is of step ", step, ", expected ", named);
    }
    for (const auto& [name, record] : state.at("files").items()) {
      const fs::path file = dir / name;
      if (!fs::exists(file)) {
        return name + " is missing";
      }
      if (fs::file_size(file) != record.at("bytes").get<std::uintmax_t>()) {
        return concat(name, " has ", fs::file_size(file), " bytes, expected ",
                      record.at("bytes").get<std::uintmax_t>());
      }
      if (hash_file(file) != record.at("xxh3_128").get<std::string>()) {
        return name + " does not have its recorded hash";
      }
    }
  } catch (const Error& e) {
    if (e.code() == ErrorCode::kUnsupported || e.code() == ErrorCode::kIo) {
      throw;
    }
    // It is there, so it may not be read: no reason to give it up.
    GM_CHECK(e.code() != ErrorCode::kNotFound, kIo, "reading ", dir.string(), ": ", e.what());
    return e.what();
  } catch (const fs::filesystem_error& e) {
    fail(ErrorCode::kIo, "reading ", dir.string(), ": ", e.what());
  } catch (const std::exception& e) {
    return e.what();
  }
  return {};
}

/// What a rank that died while writing left behind, and what set_aside_later() put away.
void remove_partial(const fs::path& work_dir) {
  std::vector<fs::path> partial;
  for (const auto& entry : fs::directory_iterator(work_dir)) {
    const fs::path& path = entry.path();
    if ((path.extension() == ".tmp" || path.extension() == kDamaged) && step_of(path.stem())) {
      partial.push_back(path);
    }
  }
  for (const fs::path& path : partial) {
    fs::remove_all(path);
  }
}

/// Makes step_dir's files those of work_dir; state.json comes last.
void link_files(const fs::path& work_dir, const fs::path& step_dir, bool keep_moments) {
  Json state = read_state_json(step_dir);
  fs::create_directories(work_dir / "trainer");
  for (const fs::path& file : files_below(step_dir)) {
    if (file == kState) {
      continue;
    }
    fs::remove(work_dir / file);
    if (file.begin()->string() == "trainer" && !keep_moments) {
      state["files"].erase(file.string());
      continue;
    }
    // Links cost nothing and cannot be half done; some file systems have none.
    std::error_code no_links;
    fs::create_hard_link(step_dir / file, work_dir / file, no_links);
    if (no_links) {
      fs::copy_file(step_dir / file, work_dir / file);
      sync_path(work_dir / file);
    }
  }
  // Last, because it is what makes the directory whole.
  write_state_json(work_dir, std::move(state));
  sync_path(work_dir / "trainer");
  sync_path(work_dir);
}

void copy_values(const SafetensorsFile& file, const std::string& name, const at::Tensor& into) {
  GM_CHECK(file.contains(name), kMismatch, file.path().string(), ": no tensor '", name, "'");
  const at::Tensor tensor = file.load(name);
  GM_CHECK(tensor.sizes() == into.sizes(), kMismatch, file.path().string(), ": tensor '", name,
           "' has shape ", tensor.sizes(), ", expected ", into.sizes());
  into.copy_(tensor);
}

/// What std::filesystem throws is kIo: "writing PATH: ...".
void with_io_errors(const char* doing, const fs::path& path, const std::function<void()>& work) {
  try {
    work();
  } catch (const fs::filesystem_error& e) {
    fail(ErrorCode::kIo, doing, " ", path.string(), ": ", e.what());
  }
}

/// Puts the logical tensors of `owned` into `all` on rank 0, under prefix + name. Collective.
void gather(const TrainingValues& values, const ParamMap& owned, const char* prefix,
            ParamMap& all) {
  values.store.visit_logical(owned,
                             values.comm.is_root() ? collect_into(all, prefix) : LogicalVisitor());
}

/// The model in the dtype it is saved in, and the masters where that is not theirs.
void write_model(const fs::path& dir, const Model& model, const SaveOptions& options) {
  fs::remove_all(dir);  // what a killed job left
  fs::create_directories(dir / "trainer");
  save_model(dir, model, options);
  const bool is_exact =
      model.params.empty() || model.params.begin()->second.scalar_type() == options.dtype;
  if (!is_exact) {
    save_safetensors(dir / kMaster, model.params, {{"format", "pt"}});
  }
}

/// Lets a written directory bear its name.
void make_whole(const fs::path& partial, const fs::path& whole) {
  sync_path(partial / "trainer");
  sync_path(partial);
  fs::remove_all(whole);  // one that was found damaged and is made again
  fs::rename(partial, whole);
  sync_path(whole.parent_path());
}

/// Whether a checkpoint of this step is written whatever clock and signals say.
bool is_due(const fs::path& dir, const KeptCheckpoints& kept) {
  return kept.every > 0 && *step_of(dir) % kept.every == 0;
}

void remove_old(const fs::path& work_dir, std::int64_t step, const KeptCheckpoints& kept) {
  std::int64_t due = 0;
  std::int64_t others = 0;
  for (const fs::path& dir : step_directories(work_dir)) {
    // Later ones are not of this run, or it would have resumed from them.
    if (*step_of(dir) <= step && ++(is_due(dir, kept) ? due : others) > kept.last) {
      fs::remove_all(dir);
    }
  }
}

}  // namespace

fs::path save_training_checkpoint(const fs::path& work_dir, const TrainingState& state,
                                  const TrainingValues& values, const SaveOptions& options,
                                  const KeptCheckpoints& kept) {
  const fs::path whole = work_dir / ("step-" + std::to_string(state.step));
  const fs::path partial = whole.string() + ".tmp";
  const auto on_root = [&](const std::function<void()>& work) {
    run_agreed(values.comm, [&] {
      if (values.comm.is_root()) {
        with_io_errors("writing", whole, work);
      }
    });
  };
  try {
    {
      Model model{values.model, {}};
      gather(values, values.store.owned().params, "", model.params);
      on_root([&] { write_model(partial, model, options); });
    }
    ParamMap moments;
    gather(values, values.optimizer.m, "m.", moments);
    gather(values, values.optimizer.v, "v.", moments);
    on_root([&] {
      save_safetensors(partial / kMoments, moments, {{"format", "growmerge-moments"}});
      write_state(partial, state, values.optimizer);
      make_whole(partial, whole);
      remove_old(work_dir, state.step, kept);
    });
  } catch (...) {
    if (values.comm.is_root()) {
      std::error_code ignored;
      fs::remove_all(partial, ignored);
    }
    throw;
  }
  return whole;
}

std::optional<fs::path> newest_training_checkpoint(const fs::path& work_dir) {
  // The end of a run comes first: step-N beside it are what a killed clean-up left.
  std::vector<fs::path> candidates;
  if (fs::exists(work_dir / kState)) {
    candidates.push_back(work_dir);
  }
  const std::vector<fs::path> steps = step_directories(work_dir);
  candidates.insert(candidates.end(), steps.begin(), steps.end());
  for (const fs::path& dir : candidates) {
    const std::string wrong = damage(dir);
    if (wrong.empty()) {
      return dir;
    }
    log_warning(concat("checkpoint ", dir.string(), " is not whole (", wrong,
                       "); looking for an older one"));
  }
  GM_CHECK(candidates.empty(), kCorrupt, work_dir.string(), ": none of its checkpoints is whole (",
           candidates.front().filename().string(), " and ", candidates.size() - 1,
           " more); restore one, or remove ", work_dir.string(), " to start afresh");
  return std::nullopt;
}

void set_aside_later(const fs::path& work_dir, std::int64_t step) {
  for (const fs::path& dir : step_directories(work_dir)) {
    if (*step_of(dir) > step) {
      const fs::path aside = dir.string() + kDamaged;
      log_warning(concat("moving ", dir.string(), " aside to ", aside.filename().string(),
                         ", which goes when the run has ended"));
      with_io_errors("moving aside", dir, [&] {
        fs::remove_all(aside);
        fs::rename(dir, aside);
      });
    }
  }
}

TrainingState read_training_state(const fs::path& dir) {
  const Json json = read_state_json(dir);
  TrainingState state;
  try {
    json.at("step").get_to(state.step);
    json.at("num_steps").get_to(state.num_steps);
    json.at("next_row").get_to(state.next_row);
    json.at("tokens").get_to(state.tokens);
    json.at("flops").get_to(state.flops);
    json.at("last_eval_step").get_to(state.last_eval_step);
    json.at("held_out").get_to(state.held_out);
    json.at("stream").get_to(state.stream);
    json.at("start").get_to(state.start);
    json.at("config").get_to(state.config);
    json.at("window").get_to(state.window);
  } catch (const nlohmann::json::exception& e) {
    fail(ErrorCode::kCorrupt, (dir / kState).string(), ": ", e.what());
  }
  return state;
}

void load_training_checkpoint(const fs::path& dir, const TrainingValues& values) {
  std::optional<CheckpointReader> model;
  std::optional<SafetensorsFile> masters;  // where the model is saved in a smaller dtype
  std::optional<SafetensorsFile> moments;
  run_agreed(values.comm, [&] {
    // On every rank: AdamW's bias correction depends on it.
    values.optimizer.step = read_state_json(dir).value("optimizer_step", std::int64_t{0});
    if (!values.comm.is_root()) {
      return;
    }
    if (fs::exists(dir / kMaster)) {
      masters = SafetensorsFile::open(dir / kMaster);
    } else {
      model = CheckpointReader::open(dir);
    }
    moments = SafetensorsFile::open(dir / kMoments);
  });
  const OwnedParameters& owned = values.store.owned();
  values.store.fill_logical(owned.params, [&](const std::string& name, const at::Tensor& into) {
    copy_values(masters ? *masters : model->file(name), name, into);
  });
  // The next pass computes with these, and only an update would write them.
  for (const auto& [name, copy] : owned.compute) {
    copy.copy_(owned.params.at(name));
  }
  const auto fill = [&](const ParamMap& moment, const char* prefix) {
    values.store.fill_logical(moment, [&](const std::string& name, const at::Tensor& into) {
      copy_values(*moments, prefix + name, into);
    });
  };
  fill(values.optimizer.m, "m.");
  fill(values.optimizer.v, "v.");
}

void publish_checkpoint(const fs::path& work_dir, const fs::path& step_dir,
                        const PublishOptions& options, const KeptCheckpoints& kept) {
  with_io_errors("finishing", work_dir, [&] {
    if (step_dir != work_dir) {
      link_files(work_dir, step_dir, options.keep_moments);
    }
    remove_partial(work_dir);
    for (const fs::path& dir : step_directories(work_dir)) {
      // The last one is the end of every run.
      if (!options.keep_steps || !(is_due(dir, kept) || dir == step_dir)) {
        fs::remove_all(dir);
      }
    }
  });
}

}  // namespace growmerge::distributed
