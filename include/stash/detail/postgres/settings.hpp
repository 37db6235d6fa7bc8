#pragma once

#include <string>

namespace stash::inline v1::detail {

/// What each session is set to, because our answers would mean something else otherwise.
///
/// The role, the database, the server and the environment (PGOPTIONS, a service file) may say otherwise; what is set in
/// the session comes before all of them (https://www.postgresql.org/docs/15/config-setting.html). Left as they are:
///
/// - default_transaction_read_only: who sets it wants no writes, and a write says so (25006);
/// - DateStyle, TimeZone, IntervalStyle, lc_monetary, array_nulls, xmloption, default_text_search_config: how a value
///   is read into a column of its type is for the database to say, as in any COPY; the records are text and bytes;
/// - role, default_tablespace, default_table_access_method, temp_tablespaces: whose a new table is, and where;
/// - bytea_output, extra_float_digits, escape_string_warning, backslash_quote, transform_null_equals, lc_messages,
///   default_transaction_deferrable, check_function_bodies: nothing that we ask depends on them;
/// - plan_cache_mode, commit_delay, work_mem, and all else that makes it faster or slower only.
///
/// synchronous_commit depends on what is promised: see who makes the session. fsync cannot be set, and is looked at.
struct postgres_setting {
  char const* name;
  char const* value;
};
inline constexpr postgres_setting session_settings[] = {
    // A name is what we mean by it, and not what somebody has put before it.
    {"search_path", "pg_catalog, pg_temp"},
    {"client_encoding", "UTF8"},
    {"standard_conforming_strings", "on"},
    {"quote_all_identifiers", "off"},
    // A statement sees what was committed before it: what another changed meanwhile is looked for by asking again.
    {"default_transaction_isolation", "read committed"},
    {"row_security", "off"},  // an error where rows would be hidden
    // "Committed, but perhaps not replicated" is a warning.
    {"client_min_messages", "warning"},
    // An error ends the statement and not the session, which has the locks.
    {"exit_on_error", "off"},
    // Triggers fire (CKAN's, that fills _full_text), and a damaged page is an error and not an empty one: only a
    // superuser may set these. Where they are otherwise and we may not, the server says so (42501).
    {"session_replication_role", "origin"},
    {"zero_damaged_pages", "off"},
    {"ignore_checksum_failure", "off"},
    // The session stays as long as this process, whatever it waits for, and no longer. It is we who say how long a
    // statement may be silent.
    {"statement_timeout", "0"},
    {"lock_timeout", "0"},
    {"transaction_timeout", "0"},
    {"idle_in_transaction_session_timeout", "0"},
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
