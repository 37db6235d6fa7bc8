// expect: stash: the serializer cannot turn this type into bytes and back
#include <boost/describe/class.hpp>
#include <map>
#include <stash/basic_stash.hpp>
#include <vector>

struct part {
  int size;
};
struct whole {
#ifdef WRONG
  std::map<std::string, std::vector<part>> parts;
#else
  std::map<std::string, std::vector<int>> parts;
#endif
};
BOOST_DESCRIBE_STRUCT(whole, (), (parts))

void f(stash::memory_stash& store) { store.save("orders", whole{}); }
