#include "distributed/train_job.h"

#include "core/base/error.h"

namespace growmerge::distributed {
namespace {

/// How messages call a stream, and what they advise.
struct StreamWords {
  const char* kind;
  const char* vocabulary;  // where its ids are beyond the model's
  const char* length;      // where its rows are
};

void check_fits_model(const BatchSource& source, const ModelConfig& model,
                      const StreamWords& words) {
  // Before a token id beyond the embedding stops the first step that meets it.
  GM_CHECK(source.vocab_size() <= model.vocab_size, kMismatch, words.kind,
           " data: made with a vocabulary of ", source.vocab_size(), ", the model has ",
           model.vocab_size, words.vocabulary);
  GM_CHECK(source.row_tokens() <= model.max_position_embeddings, kInvalidArgument, words.kind,
           " data: rows of ", source.row_tokens(), " tokens, the model has positions for ",
           model.max_position_embeddings, " (max_position_embeddings); ", words.length);
}

void check_profile(const TrainJob& job) {
  const ProfileConfig& profile = job.config.profile;
  if (profile.from_step == 0) {
    return;
  }
  GM_CHECK(job.run.device.is_cpu(), kInvalidArgument,
           "profile: times operators on the CPU, and on a GPU would time their launches; set "
           "profile.from_step: 0 and take Nsight Systems (nsys profile), or device: cpu");
  const std::int64_t last = profile.from_step + profile.steps - 1;
  GM_CHECK(last <= job.plan.steps, kInvalidArgument, "profile: steps ", profile.from_step, " to ",
           last, ", training has ", job.plan.steps);
}

}  // namespace

void plan_job(TrainJob& job) {
  job.config.validate();
  job.plan = plan_training(job.config, job.model, job.source.row_tokens());
  check_fits_model(job.source, job.model,
                   {.kind = "training",
                    .vocabulary = "; tokenize with the model's tokenizer",
                    .length = "lower row_tokens, or raise that number in config.json if the model "
                              "is to learn longer contexts"});
  if (job.held_out != nullptr) {
    check_fits_model(*job.held_out, job.model,
                     {.kind = "held-out", .vocabulary = "", .length = "lower held_out.row_tokens"});
  }
  check_profile(job);
  const std::int64_t needed = job.plan.steps * job.config.batch_rows;
  GM_CHECK(job.source.num_rows() < 0 || job.source.num_rows() >= needed, kInvalidArgument,
           "training data: ", job.plan.steps, " steps of ", job.config.batch_rows, " rows need ",
           needed, " rows, the stream has ", job.source.num_rows(),
           "; lower the budget or allow more epochs");
}

}  // namespace growmerge::distributed
