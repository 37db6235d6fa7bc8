#define BOOST_TEST_MODULE stash
#include <boost/test/unit_test.hpp>
