// Loads a CSV file into a table in place of the one that is there, and keeps all else: the words that people typed into
// its Data Dictionary, and what hangs on the table, whatever happens in between. Copy it and put your own datastore in.
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/filesystem/operations.hpp>
#include <boost/json/serialize.hpp>
#include <boost/timer/progress_display.hpp>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <stash/ckan/api_datastore.hpp>
#include <stash/ckan/parse_dictionary.hpp>
#include <stash/ckan/postgres_datastore.hpp>
#include <stash/ckan/recover.hpp>
#include <stash/ckan/reload.hpp>
#include <stash/ckan/sqlite_datastore.hpp>
#include <stash/stash.hpp>
#include <stash/storage/journal.hpp>
#include <stash/storage/postgres.hpp>
#include <stash/storage/sqlite.hpp>
#include <unordered_set>
#include <vector>

#include "csv_file.hpp"
#include "places.hpp"

namespace {

namespace json = boost::json;
namespace ckan = stash::ckan;
using example::input_error;

enum exit_code { done = 0, failed = 1, bad_input = 2, not_restored = 3 };

struct arguments {
  std::string datastore, stash, resource, file, fail_at, crash_at;
  std::optional<std::string> token_file{};
  std::string token{};  // for a CKAN site, from the file or the environment
  ckan::keep keep = ckan::keep::everything;
  bool leave_behind = false;
  std::int64_t patience = 600;  // seconds
};

/// Throws or dies at the step that the command line names, once.
class fault {
 public:
  explicit fault(arguments const& a) : fail_at_(a.fail_at), crash_at_(a.crash_at) {}
  void at(std::string_view step) {
    if (step == crash_at_) ::raise(SIGKILL);
    if (step == fail_at_) {
      fail_at_.clear();
      throw std::runtime_error("told to fail at " + std::string(step));
    }
  }

 private:
  std::string fail_at_, crash_at_;
};

/// What is needed of a datastore, whichever it is.
class any_datastore {
 public:
  using rows = std::function<void(example::csv_reader::row)>;

  virtual ~any_datastore() = default;
  virtual std::optional<ckan::fields> describe(std::string_view id) = 0;
  virtual void check(std::string_view id, ckan::fields const&) = 0;
  virtual json::object remarks(std::string_view id) = 0;
  virtual void create(std::string_view id, ckan::fields const&, json::object const& remarks) = 0;
  void create(std::string_view id, ckan::fields const& f) { create(id, f, {}); }
  virtual bool empty(std::string_view id, ckan::fields const&, json::object const& remarks) = 0;
  virtual bool empty_half_built(std::string_view id) = 0;
  virtual void finish(std::string_view id) = 0;
  virtual void drop(std::string_view id) = 0;
  /// This and `swap_in` are for `keep::everything`, which a datastore that does not build beside is never asked for.
  virtual void build(std::string_view id, ckan::fields const&, json::object const& remarks) = 0;
  virtual std::vector<stash::left_behind> swap_in(std::string_view id, ckan::swap_options const&) = 0;
  virtual void discard(std::string_view id) = 0;
  virtual bool is_deleted(std::string_view id) = 0;
  virtual void drop_half_built(std::string_view id) = 0;
  virtual std::vector<std::string> leftovers() = 0;
  virtual std::optional<ckan::table_words> unfinished(std::string_view id) = 0;
  virtual void annotate(std::string_view id, ckan::data_dictionary const&) = 0;
  virtual std::map<std::size_t, std::string> refused(std::string_view id, ckan::field const&,
                                                     std::span<std::optional<std::string> const> values) = 0;
  virtual std::uint64_t rows_of(std::string_view id) = 0;
  /// Loads the rows that `read` calls its argument with.
  virtual void load(std::string_view id, ckan::fields const&, std::function<void(rows const&)> const& read) = 0;
};

template <class Datastore>
class datastore_of final : public any_datastore {
 public:
  template <class... Arguments>
  explicit datastore_of(Arguments&&... arguments) : datastore_(std::forward<Arguments>(arguments)...) {}
  std::optional<ckan::fields> describe(std::string_view id) override { return datastore_.describe(id); }
  void check(std::string_view id, ckan::fields const& f) override { datastore_.check(id, f); }
  json::object remarks(std::string_view id) override { return datastore_.remarks(id); }
  void create(std::string_view id, ckan::fields const& f, json::object const& remarks) override {
    datastore_.create(id, f, remarks);
  }
  bool empty(std::string_view id, ckan::fields const& f, json::object const& remarks) override {
    if constexpr (requires { datastore_.empty(id, f, remarks); }) return datastore_.empty(id, f, remarks);
    return false;
  }
  bool empty_half_built(std::string_view id) override {
    if constexpr (requires { datastore_.empty_half_built(id); }) return datastore_.empty_half_built(id);
    return false;
  }
  void finish(std::string_view id) override { datastore_.finish(id); }
  void drop(std::string_view id) override { datastore_.drop(id); }
  void build(std::string_view id, ckan::fields const& f, json::object const& remarks) override {
    if constexpr (requires { datastore_.build(id, f, remarks); }) return datastore_.build(id, f, remarks);
    throw std::logic_error("this datastore builds nothing beside a table");
  }
  std::vector<stash::left_behind> swap_in(std::string_view id, ckan::swap_options const& how) override {
    if constexpr (requires { datastore_.swap_in(id, how); }) return datastore_.swap_in(id, how);
    throw std::logic_error("this datastore builds nothing beside a table");
  }
  void discard(std::string_view id) override {
    if constexpr (requires { datastore_.discard(id); }) datastore_.discard(id);
  }
  std::vector<std::string> leftovers() override {
    if constexpr (requires { datastore_.leftovers(); }) return datastore_.leftovers();
    return {};
  }
  bool is_deleted(std::string_view id) override {
    if constexpr (requires { datastore_.is_deleted(id); }) return datastore_.is_deleted(id);
    return false;
  }
  void drop_half_built(std::string_view id) override {
    if constexpr (requires { datastore_.drop_half_built(id); }) return datastore_.drop_half_built(id);
    datastore_.drop(id);
  }
  std::optional<ckan::table_words> unfinished(std::string_view id) override { return datastore_.unfinished(id); }
  void annotate(std::string_view id, ckan::data_dictionary const& d) override { datastore_.annotate(id, d); }
  std::map<std::size_t, std::string> refused(std::string_view id, ckan::field const& f,
                                             std::span<std::optional<std::string> const> values) override {
    if constexpr (requires { datastore_.refused(id, f, values); }) return datastore_.refused(id, f, values);
    return {};
  }
  std::uint64_t rows_of(std::string_view id) override { return datastore_.rows(id); }
  void load(std::string_view id, ckan::fields const& f, std::function<void(rows const&)> const& read) override {
    typename Datastore::loader loader{datastore_, id, f};
    read([&](example::csv_reader::row row) { loader.add(row); });
    loader.finish();
  }

 private:
  Datastore datastore_;
};

/// The datastore, with the faults between its steps. Where the old table is dropped in the swap, "before-drop" and
/// "after-drop" stand around that, and "before-commit" in it.
class faulty_datastore {
 public:
  faulty_datastore(any_datastore& d, fault& f, ckan::keep keep) : datastore_(d), fault_(f), keep_(keep) {}
  std::optional<ckan::fields> describe(std::string_view id) { return datastore_.describe(id); }
  void check(std::string_view id, ckan::fields const& f) {
    datastore_.check(id, f);
    if (keep_ == ckan::keep::words) fault_.at("before-drop");
  }
  void drop(std::string_view id) { datastore_.drop(id); }
  json::object remarks(std::string_view id) { return datastore_.remarks(id); }
  void create(std::string_view id, ckan::fields const& f, json::object const& remarks = {}) {
    if (keep_ == ckan::keep::words) fault_.at("after-drop");
    datastore_.create(id, f, remarks);
  }
  bool empty(std::string_view id, ckan::fields const& f, json::object const& remarks) {
    bool const stays = datastore_.empty(id, f, remarks);
    if (stays) fault_.at("after-drop");  // of the rows alone
    return stays;
  }
  bool empty_half_built(std::string_view id) { return datastore_.empty_half_built(id); }
  void finish(std::string_view id) {
    if (keep_ == ckan::keep::words) fault_.at("before-commit");
    datastore_.finish(id);
  }
  void build(std::string_view id, ckan::fields const& f, json::object const& remarks) {
    datastore_.build(id, f, remarks);
  }
  std::vector<stash::left_behind> swap_in(std::string_view id, ckan::swap_options how) {
    fault_.at("before-drop");
    how.words = [&, words = how.words](ckan::table_words built, std::optional<ckan::table_words> const& live) {
      fault_.at("before-commit");
      return words(std::move(built), live);
    };
    auto left = datastore_.swap_in(id, how);
    fault_.at("after-drop");
    return left;
  }
  void discard(std::string_view id) { datastore_.discard(id); }
  std::optional<ckan::table_words> unfinished(std::string_view id) { return datastore_.unfinished(id); }
  void drop_half_built(std::string_view id) { datastore_.drop_half_built(id); }

 private:
  any_datastore& datastore_;
  fault& fault_;
  ckan::keep keep_;
};

/// Of what the command line and the environment have.
example::masking& masked() {
  static example::masking all;
  return all;
}

void log(std::string const& line) { std::cerr << "pusher: " << masked()(line) << '\n'; }
void log_event(stash::event const& e) {
  std::ostringstream line;
  line << e;
  std::cerr << masked()(line.str()) << '\n';
}

std::string in_quotes(std::string_view text) { return '"' + std::string(text) + '"'; }

/// FILE of "sqlite:FILE"; nullopt: a server or a site.
std::optional<std::string> sqlite_file(std::string const& datastore) {
  auto const place = example::place_of(datastore);
  using example::place_kind;
  if (place.kind == place_kind::postgres || place.kind == place_kind::ckan) return std::nullopt;
  if (place.kind == place_kind::sqlite) return place.where;
  // Not what it was: a password may be in it, however it is spelled.
  throw input_error("--datastore: expected sqlite:FILE, postgresql://... or ckan+https://SITE");
}

bool is_site(arguments const& a) { return example::place_of(a.datastore).kind == example::place_kind::ckan; }

bool exists(std::string const& file) {
  boost::system::error_code ignored;
  return boost::filesystem::exists(file, ignored);
}

/// Not a directory, which reads as nothing, and not a FIFO, which waits.
void require_regular(std::string const& file) {
  boost::system::error_code failed;
  auto const found = boost::filesystem::status(file, failed);
  if (failed) throw input_error(file + ": " + failed.message());
  if (!boost::filesystem::is_regular_file(found)) throw input_error(file + ": not a regular file");
}

/// The first line of the file that `--token-file` names, without white space at its end. No error has that name: who
/// takes the option for the token's own has given the token.
std::string token_in(std::string const& file) {
  auto const refuse = [](std::string const& why) { throw input_error("--token-file: " + why); };
  struct stat found {};
  if (::stat(file.c_str(), &found) != 0) refuse(std::strerror(errno));
  if (!S_ISREG(found.st_mode)) refuse("not a regular file");
  std::ifstream in(file, std::ios::binary);
  if (!in) refuse(std::strerror(errno));
  std::string line;
  std::getline(in, line);
  if (in.bad()) refuse("it cannot be read");
  std::string token = example::trimmed(line);
  if (token.empty()) refuse("its first line has no token");
  masked().learn_token(token);
  if ((found.st_mode & 077) != 0) log("others can read " + file + ", or write to it: chmod 600 keeps the token secret");
  return token;
}

/// What the datastore has to say about the other arguments, before anything is done.
void settle(arguments& a, bool is_keep_given, bool is_finish) {
  if (!is_site(a)) {
    if (a.token_file) throw input_error("--token-file: it is for a --datastore ckan+https://SITE alone");
    return;
  }
  if (is_finish) {
    throw input_error("there is nothing to finish: a push to a CKAN site builds nothing beside the table; push again");
  }
  if (is_keep_given && a.keep == ckan::keep::everything) {
    throw input_error(
        "--keep everything: a CKAN site has no place for it, because its actions know no transaction; --keep words is"
        " what it can do");
  }
  a.keep = ckan::keep::words;
  char const* const given = std::getenv("CKAN_API_TOKEN");
  a.token = a.token_file ? token_in(*a.token_file) : example::trimmed(given == nullptr ? "" : given);
  if (a.token.empty()) {
    throw input_error("a CKAN site wants an API token: --token-file FILE, or the environment variable CKAN_API_TOKEN");
  }
}

/// Whether a server, a site, or the way to it is to blame.
bool is_of_a_server(boost::system::error_code const& code) {
  namespace os = boost::system::errc;
  return code.category() == stash::postgres_category() || code.category() == ckan::http_category() ||
         code == stash::errc::indeterminate || code == os::host_unreachable || code == os::connection_reset ||
         code == os::protocol_error;
}

/// What is wrong with the arguments is an input error, with the library's own words; what is wrong with a server is
/// not.
template <class F>
auto checking_input(F f) {
  try {
    return f();
  } catch (stash::error const& problem) {
    if (is_of_a_server(problem.code())) throw;
    throw input_error(problem.what());
  }
}

/// Calls `f` with the stash that the command line names.
template <class F>
exit_code with_stash(arguments const& a, F f, bool is_listing = false) {
  auto const with = [&](auto store) {
    bool const exists = checking_input([&] { return store.storage().exists(); });  // throws where it could not be used
    if (!exists && is_listing) log("nothing was stashed at " + in_quotes(a.stash) + " yet: there is no stash");
    return f(store);
  };
  auto const place = example::place_of(a.stash);
  using example::place_kind;
  switch (place.kind) {
    case place_kind::postgres:
      return with(checking_input([&] { return stash::basic_stash<stash::postgres_storage>{place.where}; }));
    case place_kind::sqlite:
      return with(checking_input([&] { return stash::basic_stash<stash::sqlite_storage>{place.where}; }));
    case place_kind::journal:
      return with(checking_input([&] { return stash::basic_stash<stash::journal_storage>{place.where}; }));
    case place_kind::path:
      return with(checking_input([&] { return stash::file_stash{place.where}; }));
    case place_kind::ckan:
    case place_kind::unknown:
      break;
  }
  throw input_error(
      "--stash: expected DIRECTORY (./DIRECTORY, where it has a colon or an equals sign), sqlite:FILE, "
      "postgresql://... or"
      " journal:DIRECTORY");
}

std::unique_ptr<any_datastore> open_datastore(arguments const& a) {
  return checking_input([&]() -> std::unique_ptr<any_datastore> {
    if (auto const file = sqlite_file(a.datastore))
      return std::make_unique<datastore_of<ckan::sqlite_datastore>>(*file);
    if (is_site(a)) {
      ckan::api_datastore_options options;
      options.notice = log;
      return std::make_unique<datastore_of<ckan::api_datastore>>(example::place_of(a.datastore).where, a.token,
                                                                 options);
    }
    return std::make_unique<datastore_of<ckan::postgres_datastore>>(a.datastore);
  });
}

bool is_missing(arguments const& a) {
  auto const file = sqlite_file(a.datastore);
  return file && !exists(*file);
}

/// As `open_datastore`, but makes no file; null: there is none.
std::unique_ptr<any_datastore> open_existing(arguments const& a) { return is_missing(a) ? nullptr : open_datastore(a); }

/// Makes the file where there is none, but not for columns that could never be made.
std::unique_ptr<any_datastore> open_for(arguments const& a, ckan::fields const& columns) {
  return checking_input([&] {
    if (is_missing(a)) ckan::sqlite_datastore{":memory:"}.check(a.resource, columns);
    auto datastore = open_datastore(a);
    datastore->check(a.resource, columns);
    return datastore;
  });
}

/// The fields that the header names. Throws `input_error` for names that are none, or stand twice.
ckan::fields fields_of(example::csv_file const& csv, std::string const& file) {
  ckan::fields result;
  auto const fail = [&](std::string const& what) {
    throw input_error(file + ": line " + std::to_string(csv.header_line()) + ": " + what);
  };
  std::unordered_set<std::string_view> names;
  for (auto const& name : csv.header()) {
    if (name.empty()) fail("column " + std::to_string(result.size() + 1) + " has no name");
    if (!names.emplace(name).second) fail("two columns are named " + in_quotes(name));
    result.push_back({name, "text", std::nullopt, {}});
  }
  return result;
}

/// Reads the whole file before the table is dropped: what is wrong with it is found now. How many records it has.
std::uint64_t look_through(std::string const& file) {
  std::uint64_t records = 0;
  example::csv_file{file}.read([&](example::csv_reader::row, std::uint64_t) { ++records; });
  return records;
}

/// At most some 100 bytes of it, at the end of a character.
std::string shortened(std::string_view text) {
  std::size_t size = std::min<std::size_t>(text.size(), 100);
  while (size < text.size() && (static_cast<unsigned char>(text[size]) & 0xC0U) == 0x80) --size;
  return std::string(text.substr(0, size)) + (size < text.size() ? "..." : "");
}

/// What a server refused, as a person finds it in the file: the server tells one value, by the line of what it was
/// sent. So the file is read again.
class refused_rows {
 public:
  refused_rows(any_datastore& d, arguments const& a, ckan::fields const& created, stash::error const& problem)
      : datastore_(d), resource_(a.resource), created_(created), values_(created.size()), said_(problem.what()) {
    // A trigger's words may stand before it.
    std::string const begin = "COPY " + a.resource + ", line ";
    auto at = said_.find('(' + begin) + 1;
    if (at == 0) at = said_.find(begin);
    if (at != said_.npos) {
      auto const digits = at + begin.size();
      said_line_ = std::strtoull(said_.c_str() + digits, nullptr, 10);
      auto const end = std::min(said_.find_first_not_of("0123456789", digits), said_.size());
      said_.erase(digits - 7, end - digits + 7);  // ", line " and the digits
    }
    std::vector<std::string> names;
    example::csv_file again{a.file};
    for (ckan::field const& f : created) names.push_back(f.id);
    if (again.header() != names) throw std::runtime_error(a.file + " changed while it was loaded");
    again.read([&](example::csv_reader::row row, std::uint64_t line) { take(row, line); });
    look();
  }

  /// Empty: it was no row.
  std::string text() const {
    if (refused_ == 0 || !can_ask_) return said_at_ == 0 ? "" : "line " + std::to_string(said_at_) + ": " + said_;
    std::string const rows = refused_ == 1 ? " row" : " rows";
    return first_ + "; " + std::to_string(refused_) + rows + " would be refused in all";
  }

 private:
  static constexpr std::size_t most_rows = 4096, most_bytes = 1 << 20;  // at a time

  void take(example::csv_reader::row row, std::uint64_t line) {
    char const line_end = sent_ == 0 ? '\r' : '\n';  // a server counts so in quotes, until it has seen a line end
    ++sent_;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (row[i]) sent_ += static_cast<std::uint64_t>(std::count(row[i]->begin(), row[i]->end(), line_end));
      values_[i].emplace_back(row[i]);
      bytes_ += row[i] ? row[i]->size() : 0;
    }
    if (said_at_ == 0 && sent_ >= said_line_ && said_line_ > 0) said_at_ = line;
    lines_.push_back(line);
    if (lines_.size() == most_rows || bytes_ > most_bytes) look();
  }
  std::map<std::size_t, std::pair<std::size_t, std::string>> ask() const {
    std::map<std::size_t, std::pair<std::size_t, std::string>> refused;  // row: column, why
    for (std::size_t column = 0; column < values_.size(); ++column) {
      for (auto const& [row, why] : datastore_.refused(resource_, created_[column], values_[column])) {
        refused.try_emplace(row, column, why);
      }
    }
    return refused;
  }
  void look() {
    try {
      if (can_ask_) tell(ask());
    } catch (stash::error const& problem) {
      log("how many rows would be refused in all is not known: " + std::string(problem.what()));
      can_ask_ = false;
    }
    lines_.clear();
    bytes_ = 0;
    for (auto& column : values_) column.clear();
  }
  void tell(std::map<std::size_t, std::pair<std::size_t, std::string>> const& refused) {
    if (refused_ == 0 && !refused.empty()) {
      auto const& [row, value] = *refused.begin();
      first_ = "line " + std::to_string(lines_[row]) + ", column " + in_quotes(created_[value.first].id) + ": " +
               in_quotes(shortened(*values_[value.first][row])) + ": " + shortened(value.second);
    }
    refused_ += refused.size();
  }

  any_datastore& datastore_;
  std::string const& resource_;
  ckan::fields const& created_;
  std::vector<std::vector<std::optional<std::string>>> values_;  // by column
  std::vector<std::uint64_t> lines_;                             // of these rows
  std::string said_, first_;
  std::uint64_t said_line_ = 0, said_at_ = 0, refused_ = 0;
  std::uint64_t sent_ = 0;  // lines, as the server counts them
  std::size_t bytes_ = 0;
  bool can_ask_ = true;
};

/// Throws what the server refused, told by the file's lines; or returns.
void tell_refused(any_datastore& d, arguments const& a, ckan::fields const& created, stash::error const& problem) {
  auto const code = problem.code().message();
  auto const is_of = [&](char const* kind) { return code.starts_with(std::string("SQLSTATE ") + kind); };
  if (problem.code().category() != stash::postgres_category() || !(is_of("22") || is_of("23") || is_of("54"))) return;
  std::string text;
  try {
    text = refused_rows{d, a, created, problem}.text();
  } catch (std::exception const& other) {
    log("which rows were refused could not be looked up: " + std::string(other.what()));
    return;
  }
  if (!text.empty()) throw std::runtime_error(a.file + ": " + text);
}

/// Loads the records; `expected`, where it is said, must be how many there are. Returns how many there were.
std::uint64_t load(any_datastore& d, arguments const& a, ckan::fields const& created, example::csv_file& csv,
                   std::optional<std::uint64_t> expected, fault& f) {
  f.at("after-create");
  std::uint64_t const size = boost::filesystem::file_size(a.file);
  std::unique_ptr<boost::timer::progress_display> bar;
  if (::isatty(STDERR_FILENO) != 0) bar = std::make_unique<boost::timer::progress_display>(size, std::cerr);
  std::uint64_t records = 0, told = 0;
  bool is_at_half = false;
  auto const add_all = [&](any_datastore::rows const& add) {
    csv.read([&](example::csv_reader::row row, std::uint64_t) {
      add(row);
      ++records;
      if (bar && csv.offset() > told) *bar += csv.offset() - std::exchange(told, csv.offset());
      if (!is_at_half && csv.offset() >= size / 2) f.at((is_at_half = true, "mid-load"));
    });
    if (expected && records != *expected) throw std::runtime_error(a.file + " changed while it was loaded");
  };
  try {
    d.load(a.resource, created, add_all);
  } catch (stash::error const& problem) {
    tell_refused(d, a, created, problem);
    throw;
  }
  return records;
}

/// Whether the words are where they belong: in the table, or nobody typed any.
template <class Stash>
bool dictionary_is_safe(any_datastore& d, Stash const& store, arguments const& a, bool had_words) {
  try {
    auto const live = d.describe(a.resource);
    if (live && !(ckan::dictionary_of(*live).empty() && d.remarks(a.resource).empty())) return true;
    return !had_words && store.template look_up<ckan::data_dictionary>(a.resource).state == stash::record_state::absent;
  } catch (std::exception const&) {
    return false;
  }
}

ckan::reload_options options_of(arguments const& a, std::function<void(stash::event const&)> observer) {
  return {.guard = {.observer = std::move(observer)},
          .keep = a.keep,
          .leave_behind = a.leave_behind,
          .patience = std::chrono::seconds{a.patience},
          .waiting = [](std::string const& who) { log("waiting for a lock of " + who); }};
}

/// Runs a reload, and says how it ended. `had_words` is read at its end.
template <class Stash, class F>
exit_code reported(any_datastore& d, Stash const& store, arguments const& a, bool const& had_words, F reload) {
  try {
    ckan::reload_report const report = reload();
    for (auto const& id : report.unplaced) {
      log("no column " + in_quotes(id) + " any more: what was typed for it is kept, see pusher stashes");
    }
    return done;
  } catch (std::exception const& problem) {
    log(problem.what());
    auto const* const coded = dynamic_cast<stash::error const*>(&problem);
    if (coded != nullptr && coded->code() == stash::errc::busy) {
      if (a.keep == ckan::keep::everything)
        log("the table is as it was; what was built, if it was, stays for: pusher finish");
      return failed;
    }
    bool const is_input = dynamic_cast<input_error const*>(&problem) != nullptr && a.keep == ckan::keep::everything;
    if (dictionary_is_safe(d, store, a, had_words)) {
      log(a.keep == ckan::keep::everything ? "the table is as it was, rows and all"
                                           : "the dictionary is where it belongs; the rows may be gone: push again");
      return is_input ? bad_input : failed;
    }
    log("the dictionary of " + in_quotes(a.resource) +
        " is not in the table; the stash is kept: push again, or pusher recover");
    return not_restored;
  }
}

template <class Stash>
exit_code push(Stash& store, arguments const& a, example::csv_file& csv, ckan::fields const& headers) {
  stash::key const resource = a.resource;
  checking_input([&] { return store.storage().where(resource); });
  std::optional<std::uint64_t> expected;
  if (a.keep == ckan::keep::words) expected = look_through(a.file);
  auto const datastore = open_for(a, headers);
  fault f{a};
  faulty_datastore steps{*datastore, f, a.keep};
  bool had_words = false;
  std::uint64_t records = 0;
  auto const observer = [&](stash::event const& e) {
    log_event(e);
    had_words = had_words || e.kind == stash::event_kind::saved || e.kind == stash::event_kind::adopted;
  };
  return reported(*datastore, store, a, had_words, [&] {
    auto const report = ckan::reload(
        steps, store, resource, headers,
        [&](ckan::fields const& created) { records = load(*datastore, a, created, csv, expected, f); },
        options_of(a, observer));
    if (report.rows_only) log("the table stayed, its rows alone were replaced");
    log("loaded " + std::to_string(records) + " rows into " + in_quotes(a.resource));
    return report;
  });
}

exit_code push(arguments const& a) {
  static_cast<void>(stash::key(a.resource));  // throws where it is none
  require_regular(a.file);
  example::csv_file csv{a.file};
  ckan::fields const headers = fields_of(csv, a.file);
  if (headers.size() == 1 && headers[0].id.find_first_of(";\t|") != std::string::npos) {
    log(a.file + " has one column, " + in_quotes(headers[0].id) + ": only commas separate fields");
  }
  if (!csv.has_values()) {
    log(a.file + " has no records: nothing to load, nothing touched");
    return done;
  }
  return with_stash(a, [&](auto& store) { return push(store, a, csv, headers); });
}

exit_code finish(arguments const& a) {
  return with_stash(a, [&](auto& store) {
    auto const datastore = open_existing(a);
    if (!datastore) throw input_error(a.datastore + ": there is no such file");
    return reported(*datastore, store, a, true, [&] {
      auto const report = ckan::finish_reload(*datastore, store, a.resource, options_of(a, log_event));
      log("what an earlier push had built is in place of " + in_quotes(a.resource));
      return report;
    });
  });
}

exit_code annotate(arguments const& a) {
  require_regular(a.file);
  std::ifstream file(a.file, std::ios::binary);
  if (!file) throw input_error(a.file + ": " + std::strerror(errno));
  std::string const text{std::istreambuf_iterator<char>(file), {}};
  auto const datastore = open_existing(a);
  if (!datastore || !datastore->describe(a.resource)) {
    log("resource " + in_quotes(a.resource) + " is not live");
    return failed;
  }
  try {
    datastore->annotate(a.resource, ckan::parse_dictionary(text));
  } catch (stash::error const& problem) {
    if (problem.code() != stash::errc::mismatch) throw;
    throw input_error(a.file + ": " + problem.what());
  }
  return done;
}

exit_code show(arguments const& a) {
  auto const datastore = open_existing(a);
  auto const fields = datastore ? datastore->describe(a.resource) : std::nullopt;
  if (!fields) {
    log("resource " + in_quotes(a.resource) + " is not live");
    return failed;
  }
  std::cout << "{\"resource_id\":" << json::serialize(json::value(a.resource))
            << ",\"rows\":" << datastore->rows_of(a.resource) << ",\"fields\":[";
  char const* separator = "";
  for (auto const& f : *fields) {
    std::cout << std::exchange(separator, ",") << "{\"id\":" << json::serialize(json::value(f.id))
              << ",\"type\":" << json::serialize(json::value(f.type)) << ",\"info\":" << ckan::info_text(f) << '}';
  }
  std::cout << "]}\n";
  return done;
}

void print(stash::entry const& e, char const* place) {
  auto const now = std::chrono::system_clock::now();
  std::string age = "-";
  if (e.saved_at) {
    auto const seconds = std::chrono::floor<std::chrono::seconds>(now - *e.saved_at).count();
    age = std::to_string(std::max<std::int64_t>(seconds, 0)) + " s";
  }
  char const* const state = e.state == stash::record_state::intact ? "intact" : "corrupt";
  std::ostringstream line;
  line << e.key << '\t' << age << '\t' << e.bytes << " bytes\t" << state << place << e.where << '\n';
  std::cout << masked()(line.str());
}

/// Whose the stash is, where it is somebody else's.
void tell_owner(arguments const& a) {
  auto const place = example::place_of(a.stash);
  struct stat found {};
  if (place.kind == example::place_kind::postgres || ::stat(place.where.c_str(), &found) != 0 ||
      found.st_uid == ::geteuid())
    return;
  auto const* const owner = ::getpwuid(found.st_uid);
  std::string const name = owner != nullptr ? owner->pw_name : '#' + std::to_string(found.st_uid);
  log(place.where + " belongs to " + name + "; what changes it is to be run as: sudo -u " +
      (owner != nullptr ? name : "'" + name + "'"));
}

exit_code stashes(arguments const& a) {
  tell_owner(a);
  auto const list = [](auto& store) {
    for (auto const& e : store.entries()) print(e, "\tat ");
    for (auto const& e : store.set_aside_entries()) print(e, "\tset aside at ");
    return done;
  };
  return with_stash(a, list, true);
}

exit_code tell(stash::recovery_report const& report) {
  log(std::to_string(report.restored) + " restored, " + std::to_string(report.live) + " live, " +
      std::to_string(report.busy) + " busy, " + std::to_string(report.corrupt) + " corrupt, " +
      std::to_string(report.failed.size()) + " failed");
  for (auto const& [k, problem] : report.failed) {
    try {
      std::rethrow_exception(problem);
    } catch (std::exception const& e) {
      log(in_quotes(k) + ": " + e.what());
    }
  }
  return report.failed.empty() && report.corrupt == 0 ? done : not_restored;
}

exit_code recover(arguments const& a) {
  return with_stash(a, [&](auto& store) {
    auto const datastore = open_existing(a);
    if (!datastore) throw input_error(a.datastore + ": there is no such file");
    return tell(ckan::recover(*datastore, store, {.observer = log_event}));
  });
}

/// Of the arguments and the environment. A value of "--token", which is no option, is one, and so is one of
/// "--token-file" that is no file: somebody has mistaken it for that.
void learn_secrets(std::vector<std::string> const& words) {
  bool is_token = false;
  for (auto const& word : words) {
    masked().learn(word);
    bool const is_option = word.starts_with("--") && word.find("token") != word.npos;
    auto const value = is_option ? std::min(word.find('='), word.size() - 1) + 1 : 0;
    std::string const token = is_option || is_token ? word.substr(value) : std::string();
    if (!token.empty() && !exists(token)) masked().learn_token(token);
    is_token = is_option && value == word.size();
  }
  masked().learn_environment();
}

exit_code run(int argc, char** argv) {
  arguments a;
  exit_code (*command)(arguments const&) = nullptr;
  learn_secrets({argv + std::min(argc, 1), argv + argc});
  CLI::App app{"Loads CSV files into tables and keeps their Data Dictionaries"};
  app.footer(
      "A password in postgresql://... can be seen by others of this machine, in the list of processes: put it into\n"
      "~/.pgpass or the file that PGPASSFILE names. A CKAN site's API token is in the file that --token-file names, or "
      "in\n"
      "the environment variable CKAN_API_TOKEN; it is no argument.");
  app.require_subcommand(1);
  auto const add = [&](char const* name, char const* help, exit_code (*run)(arguments const&)) {
    CLI::App* const sub = app.add_subcommand(name, help);
    sub->callback([&command, run] { command = run; });
    return sub;
  };
  auto const needs = [&](std::initializer_list<CLI::App*> subs, char const* option, std::string& value,
                         char const* help) {
    for (auto* const sub : subs) sub->add_option(option, value, help)->required();
  };
  auto* const pushing = add("push", "load FILE.csv into a table, in place of the one that is there", push);
  auto* const finishing = add("finish", "end a push that locks of others kept from its end", finish);
  auto* const annotating = add("annotate", "type words into the Data Dictionary", annotate);
  auto* const showing = add("show", "print a live resource as JSON", show);
  auto* const listing = add("stashes", "list what is stashed, and what was set aside", stashes);
  auto* const recovering = add("recover", "restore the dictionaries of jobs that died", recover);
  needs({pushing, finishing, annotating, showing, recovering}, "--datastore", a.datastore,
        "sqlite:FILE, postgresql://... or ckan+https://SITE");
  needs({pushing, finishing, listing, recovering}, "--stash", a.stash,
        "where the stash is: DIRECTORY, sqlite:FILE, postgresql://... or journal:DIRECTORY");
  needs({pushing, finishing, annotating, showing}, "--resource", a.resource, "the resource's id");
  needs({pushing}, "FILE.csv", a.file,
        "the rows, UTF-8, with a header; an empty line is no row, but in a file of one column a row of NULL");
  needs({annotating}, "DICTIONARY.json", a.file,
        "{\"column\": {\"label\": ..., \"notes\": ..., \"type_override\": ...}, ...}");
  for (auto* const sub : {pushing, finishing, annotating, showing, recovering}) {
    sub->add_option(
        "--token-file", a.token_file,
        "with ckan+https://SITE: the file whose first line is the API token; it goes before the environment\n"
        "variable CKAN_API_TOKEN");
  }
  std::map<std::string, ckan::keep> const keeps{{"everything", ckan::keep::everything}, {"words", ckan::keep::words}};
  auto* const keeping = pushing->add_option(
      "--keep", a.keep,
      "everything: the old table stays until the new one takes its place, with all that hangs on it;\n"
      "words: it is dropped first, and what people typed is kept; a CKAN site can do this one alone");
  keeping->transform(CLI::CheckedTransformer(keeps))->option_text("everything|words");
  for (auto* const sub : {pushing, finishing}) {
    sub->add_flag("--leave-behind", a.leave_behind,
                  "leave behind what cannot be carried over, as an index on a column that is gone");
    sub->add_option("--patience", a.patience, "how many seconds to wait for locks of others at the end")
        ->check(CLI::Range(std::int64_t{0}, std::int64_t{1'000'000}));
  }
  auto const steps = CLI::IsMember({"before-drop", "after-drop", "after-create", "mid-load", "before-commit"});
  auto* const failing = pushing->add_option("--fail-at", a.fail_at, "throw at this step")->check(steps);
  pushing->add_option("--crash-at", a.crash_at, "die of SIGKILL at this step")->check(steps)->excludes(failing);
  try {
    app.parse(argc, argv);
  } catch (CLI::ParseError const& problem) {
    std::ostringstream out, err;  // a usage error has the arguments in it
    bool const is_good = app.exit(problem, out, err) == 0;
    std::cout << masked()(out.str());
    std::cerr << masked()(err.str());
    return is_good ? done : bad_input;
  }
  try {
    settle(a, keeping->count() > 0, command == finish);
    exit_code const code = command(a);
    if (std::cout.flush()) return code;
    log("cannot write to standard output");
    return failed;
  } catch (input_error const& problem) {
    log(problem.what());
    return bad_input;
  } catch (stash::error const& problem) {
    log(problem.what());
    bool const usage = problem.code() == stash::errc::invalid_key || problem.code() == stash::errc::unsafe_directory;
    return usage ? bad_input : failed;
  } catch (std::exception const& problem) {
    log(problem.what());
    return failed;
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (std::bad_alloc const&) {  // perhaps while it was to be told
    std::fputs("pusher: memory ran out\n", stderr);
    return failed;
  }
}
