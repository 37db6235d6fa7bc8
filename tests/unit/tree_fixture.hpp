#pragma once

#include "support.hpp"

namespace tree_test {

using namespace std::string_literals;
using support::code_of;
using support::names;
using support::os;
using support::read;
using support::write;
namespace fs = boost::filesystem;

/// All that is in a tree, as text; "nothing" where there is none.
inline std::string all_of(fs::path const& path) {
  auto const kind = fs::symlink_status(path).type();
  if (kind == fs::file_not_found) return "nothing";
  if (kind == fs::symlink_file) return "-> " + fs::read_symlink(path).native();
  if (kind == fs::regular_file) return read(path);
  if (kind != fs::directory_file) return "other";
  std::string all = "{";
  for (auto const& name : names(path)) all += name + "=" + all_of(path / name) + ";";
  return all + "}";
}

struct fixture : support::scratch {
  fs::path const place = root / "export";
  support::spoiled_ops ops;
  stash::file_stash store{dir()};
  support::event_log log;

  fixture() {
    fs::create_directories(place / "sub/deep");
    write(place / "a", "of a");
    write(place / "sub/deep/b", "of b");
    fs::create_symlink("../elsewhere", place / "sub/link");
  }
  std::string const old = "{a=of a;sub={deep={b=of b;};link=-> ../elsewhere;};}";

  auto guard_of(fs::path const& path, stash::guard_options o = {}) {
    o.observer = log.observer();
    return stash::replace_guard{store, "export", stash::tree{path}, o};
  }
  auto guard(stash::guard_options o = {}) { return guard_of(place, std::move(o)); }
  void build() {
    fs::create_directories(place / "new");
    write(place / "new/c", "of c");
  }
  std::string const built = "{new={c=of c;};}";
  /// But for the stash's own directory.
  std::vector<std::string> beside() {
    auto all = names(root);
    std::erase(all, "stash");
    return all;
  }
  using list = std::vector<std::string>;
  list const alone{"export"};
};

}  // namespace tree_test
