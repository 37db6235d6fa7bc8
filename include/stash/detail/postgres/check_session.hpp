#pragma once

#include <boost/system/errc.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/error.hpp>
#include <string>

namespace stash::inline v1::detail {

/// Under `power_loss` commits wait for the disk, and for a synchronous standby where there is one, whatever the
/// settings say; otherwise as the settings said when the session began.
inline void check_session(postgres_connection& db, bool is_durable, operation const& op, deadline until) {
  auto const found = db.run(
      "SELECT pg_is_in_recovery()::text, current_setting('fsync'), c, set_config('synchronous_commit',"
      " CASE WHEN $1 = 'durable' AND c <> 'remote_apply' THEN 'on' ELSE c END, false),"
      // What is asked often is planned once, perhaps when there were few rows. It makes a plan that must read them all
      // look dear: without "jit" the server would compile each.
      " set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false)"
      " FROM current_setting('synchronous_commit') c",
      {is_durable ? "durable" : ""}, op, until);
  auto const refuse = [&](std::string const& why) {
    throw error{boost::system::errc::make_error_code(boost::system::errc::operation_not_supported),
                std::string(op.name), std::string(op.subject), why};
  };
  if (found.text(0, 0) != "false") {
    db.fail("25006", "the server is a standby; with several hosts, say target_session_attrs=read-write", op);
  }
  if (!is_durable) return;
  if (found.text(0, 1) == "off") refuse("the server has fsync off: a save would not survive a power cut");
  if (found.text(0, 2) == "off") {
    refuse("synchronous_commit is off: a save would not survive a power cut; set it on, or say process_crash");
  }
}

}  // namespace stash::inline v1::detail
