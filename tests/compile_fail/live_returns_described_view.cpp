// expect: stash: live must return a value that owns its bytes, not a view
#include <boost/describe/class.hpp>
#include <stash/delete_guard.hpp>

#ifdef WRONG
using owned_text = std::string_view;
#else
using owned_text = std::string;
#endif

struct named {
  owned_text name;
};
BOOST_DESCRIBE_STRUCT(named, (), (name))

struct column : named {
  std::vector<column> parts;
};
BOOST_DESCRIBE_STRUCT(column, (named), (parts))

void tag_invoke(boost::json::value_from_tag, boost::json::value&, column const&);
column tag_invoke(boost::json::value_to_tag<column>, boost::json::value const&);

void f(stash::memory_stash& store) {
  stash::delete_guard guard{store, "orders", [] { return std::vector<column>{}; }, [](auto const&) {}};
}
