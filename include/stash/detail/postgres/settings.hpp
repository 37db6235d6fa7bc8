#pragma once

#include <string>

namespace stash::inline v1::detail {

/// What each session is set to: so that it stays as long as this process, and no longer; and means by each name what we
/// mean.
struct postgres_setting {
  char const* name;
  char const* value;
};
inline constexpr postgres_setting session_settings[] = {
    {"search_path", "pg_catalog"},
    {"default_transaction_isolation", "read committed"},
    {"row_security", "off"},  // an error where rows would be hidden
    {"idle_session_timeout", "0"},
    {"client_connection_check_interval", "1000"},
    {"tcp_keepalives_idle", "20"},
    {"tcp_keepalives_interval", "10"},
    {"tcp_keepalives_count", "3"},
    {"tcp_user_timeout", "50000"},
};

/// The statement that sets them: those that the server has, and that are not so already. It names nothing that a
/// search_path could make something else.
inline std::string set_session_settings() {
  std::string values;
  for (auto const& [name, value] : session_settings) {
    values.append(values.empty() ? "('" : ", ('").append(name).append("', '").append(value).append("')");
  }
  return "SELECT pg_catalog.set_config(w.name, w.value, false) FROM (VALUES " + values +
         ") w (name, value) WHERE pg_catalog.current_setting(w.name, true) OPERATOR(pg_catalog.<>) w.value";
}

}  // namespace stash::inline v1::detail
