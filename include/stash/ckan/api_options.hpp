#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>

namespace stash::inline v1::ckan {

/// For `api_datastore`. New members go last.
struct api_datastore_options {
  std::chrono::milliseconds connect{10'000};   ///< for a connection
  std::chrono::milliseconds silence{60'000};   ///< in which nothing comes or goes
  std::chrono::milliseconds timeout{300'000};  ///< for one call in all, with its repetitions
  std::chrono::milliseconds pause{250};        ///< before a call is made again; each pause is twice the one before
  std::size_t batch_bytes = 1'000'000;         ///< of one request with rows: a proxy's limit is often 1 MiB
  std::size_t batch_rows = 5000;               ///< of one request
  /// How long a batch of rows may still come of which nobody knows whether the site has it.
  std::chrono::milliseconds settle{30'000};
  /// How many batches are on their way at one time. With more than one, rows of the next may come before those of the
  /// last: then CKAN's `_id` is not in the order in which they were added.
  std::size_t at_once = 1;
  /// true: `http://` is taken for any host, and the token goes there readable for all on the way. false: for this
  /// machine alone.
  bool allow_plain_http = false;
  /// Told what the site cannot do, a sentence each. Without it, a line on standard error.
  std::function<void(std::string const& what)> notice{};
};

}  // namespace stash::inline v1::ckan
