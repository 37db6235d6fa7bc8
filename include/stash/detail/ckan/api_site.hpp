#pragma once

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <random>
#include <stash/ckan/api_options.hpp>
#include <stash/ckan/http_status.hpp>
#include <stash/detail/ckan/exact_json.hpp>
#include <stash/detail/ckan/http.hpp>
#include <stash/detail/ckan/success_of.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/system/sleep.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::ckan::detail {

/// What a call does, and so whether it may be made again where nobody knows what became of it.
enum class asking {
  reads,       ///< nothing is changed
  repeatable,  ///< a second time changes nothing more
  once         ///< a second time would add to the first
};

/// What an action gave.
struct api_result {
  boost::json::value value;
  bool is_exact = true;  ///< false: a number in it is not the one that was sent, for it has more digits than a `double`
};

/// A CKAN site's actions (https://docs.ckan.org/en/2.11/api/). Not thread safe.
class api_site {
 public:
  api_site(std::string url, std::string token, api_datastore_options const& options)
      : url_(checked(std::move(url), options)),
        token_(checked_token(std::move(token))),
        timeout_(sane(options.timeout)),
        pause_(sane(options.pause)),
        http_(token_, {sane(options.connect), sane(options.silence), timeout_}, is_plain_here(url_)) {}

  /// With a connection of its own.
  std::unique_ptr<api_site> another(api_datastore_options const& options) const {
    return std::make_unique<api_site>(url_, token_, options);
  }

  /// Without what may be secret in it.
  std::string const& url() const noexcept { return url_; }

  /// A time that can be counted with.
  static std::chrono::milliseconds sane(std::chrono::milliseconds time) {
    return std::clamp<std::chrono::milliseconds>(time, std::chrono::milliseconds(1), std::chrono::hours(24));
  }

  /// The action's result. Where the site is busy (429, 503) it is asked again with growing pauses, until the call's
  /// time is over; where it cannot be reached, some five seconds (four times); and so where nobody knows whether it has
  /// acted, if that is safe.
  ///
  /// Of what is asked once only, the result is not read.
  ///
  /// Throws what the site says, with its status (`http_status`); `errc::indeterminate` where nobody knows whether it
  /// has acted; and where it certainly has not, because it cannot be reached, `host_unreachable`.
  api_result call(std::string_view action, std::string_view body, asking how, stash::detail::operation const& op) {
    if (auto found = find(action, body, how, op, false)) return std::move(*found);
    return {};
  }
  api_result call(std::string_view action, boost::json::object const& body, asking how,
                  stash::detail::operation const& op) {
    return call(action, std::string_view(boost::json::serialize(body)), how, op);
  }
  /// The same; nullopt where CKAN says that there is no such thing.
  std::optional<api_result> find(std::string_view action, boost::json::object const& body, asking how,
                                 stash::detail::operation const& op) {
    return find(action, boost::json::serialize(body), how, op, true);
  }

 private:
  struct outcome {
    enum { done, refused, not_yet, unknown } state = done;
    int most_tries = 1;
    std::optional<api_result> result{};
    boost::system::error_code code{};
    std::string why{};
    bool is_not_found = false;
  };

  std::optional<api_result> find(std::string_view action, std::string_view body, asking how,
                                 stash::detail::operation const& op, bool may_be_missing) {
    auto const until = std::chrono::steady_clock::now() + timeout_;
    std::string const where = url_ + "/api/3/action/" + std::string(action);
    std::chrono::milliseconds pause = pause_;
    for (int tries = 1;; ++tries, pause = std::min(pause * 2, longest_pause)) {
      http_answer const answer = http_.post(where, body, how != asking::once, left(until));
      // It may be long, for CKAN sends the rows back.
      if (how == asking::once && answer.status == 200 && detail::is_success(answer.body)) return api_result{};
      outcome found = judge(answer);
      if (found.result) return std::move(found.result);
      if (found.is_not_found && may_be_missing) return std::nullopt;
      bool const is_known = found.state != outcome::unknown || how == asking::reads;
      bool const may_again = found.state == outcome::not_yet || how != asking::once;
      bool const goes_on = may_again && tries < found.most_tries;
      auto const next = jittered(std::max<std::chrono::milliseconds>(pause, answer.retry_after.value_or(zero)));
      if (goes_on && next < left(until)) {
        stash::detail::sleep_for(next);
        continue;
      }
      std::string const why = std::string(action) + ": " + found.why;
      if (!is_known)
        op.fail(errc::indeterminate, url_, why + " (" + found.code.message() + "); nobody knows whether it was done");
      throw error{found.code, std::string(op.name), std::string(op.subject), url_ + ": " + why};
    }
  }

  static constexpr std::chrono::milliseconds longest_pause{30'000};
  static constexpr std::chrono::seconds zero{0};
  static constexpr int few = 5, many = 1'000'000;  // tries; the call's time is over before

  static std::chrono::milliseconds left(std::chrono::steady_clock::time_point until) {
    return std::max(std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()),
                    std::chrono::milliseconds(1));
  }
  /// So that many that were refused at one time do not all come again at one.
  std::chrono::milliseconds jittered(std::chrono::milliseconds pause) {
    return pause + std::chrono::milliseconds(chance_() % (static_cast<unsigned>(pause.count()) / 2 + 1));
  }

  outcome judge(http_answer const& answer) const {
    namespace os = boost::system::errc;
    if (answer.status == 0) {
      auto const why = shown(answer.problem);
      if (answer.may_pass) return {outcome::not_yet, few, {}, os::make_error_code(os::host_unreachable), why};
      if (!answer.may_have_acted) return {outcome::refused, 1, {}, os::make_error_code(os::protocol_error), why};
      return {outcome::unknown, few, {}, os::make_error_code(os::connection_reset), why};
    }
    auto const said = read(answer.body);
    auto const* const success = said ? said->value.if_contains("success") : nullptr;
    bool const is_success = success != nullptr && success->is_bool() && success->get_bool();
    if (answer.status == 200 && is_success) {
      auto const* const result = said->value.if_contains("result");
      return {outcome::done, 1,
              api_result{result == nullptr ? boost::json::value{} : *result, !said->inexact.contains("result")}};
    }
    auto const* const problem = said ? said->value.if_contains("error") : nullptr;
    std::string const why =
        problem != nullptr ? shown(boost::json::serialize(*problem)) : "no answer of CKAN's: " + shown(answer.body);
    auto const* const kind =
        problem != nullptr && problem->is_object() ? problem->get_object().if_contains("__type") : nullptr;
    if (answer.status == 404 && kind != nullptr && *kind == "Not Found Error") {
      return {outcome::refused, 1, {}, http_status(404), why, true};
    }
    if (answer.status == 429) return {outcome::not_yet, many, {}, http_status(429), why};
    // 2xx: somebody between has answered, or the answer was cut. 408 and 5xx: the site may have acted all the same.
    bool const may_have_acted = answer.status < 300 || answer.status == 408 || answer.status >= 500;
    if (!may_have_acted) return {outcome::refused, 1, {}, http_status(answer.status), why};
    return {outcome::unknown, answer.status == 503 ? many : few, {}, http_status(answer.status), why};
  }
  static std::optional<stash::detail::exact_object> read(std::string_view body) {
    try {
      return stash::detail::read_exactly(body);
    } catch (error const&) {  // it is told as what it is
      return std::nullopt;
    }
  }
  /// Whoever answers may repeat what was sent to him.
  std::string shown(std::string text) const {
    constexpr std::string_view hidden = "(token)";
    for (auto at = text.find(token_); !token_.empty() && at != text.npos; at = text.find(token_, at + hidden.size())) {
      text.replace(at, token_.size(), hidden);
    }
    return stash::detail::printable(text, 300);
  }

  /// Without a slash at its end. Throws EINVAL where it is none of a site, or the token would be readable on its way.
  static std::string checked(std::string url, api_datastore_options const& options) {
    auto const refuse = [](std::string const& why) {
      throw error{boost::system::errc::make_error_code(boost::system::errc::invalid_argument),
                  "api_datastore",
                  {},
                  "the site's address " + why};
    };
    bool const is_plain = url.starts_with("http://");
    if (!is_plain && !url.starts_with("https://")) refuse("begins with neither https:// nor http://");
    std::string const host = url.substr(url.find("//") + 2, url.find('/', 8) - url.find("//") - 2);
    if (host.find('@') != host.npos) refuse("has a user or a password in it; what lets one in is the token");
    if (host.empty() || url.find_first_of("?# \r\n\t") != url.npos || url.find('\0') != url.npos) {
      refuse("is not that of a site");
    }
    if (is_plain && !is_plain_here(url) && !options.allow_plain_http) {
      refuse("begins with http://: all on the way could read the token; use https://, or say allow_plain_http");
    }
    while (url.ends_with('/')) url.pop_back();
    return url;
  }
  static bool is_plain_here(std::string const& url) {
    if (!url.starts_with("http://")) return false;
    std::string const host = url.substr(7, url.find('/', 7) - 7);
    std::string const name = host.substr(0, host.starts_with('[') ? host.find(']') + 1 : host.find(':'));
    return name == "localhost" || name == "[::1]" ||
           (name.starts_with("127.") && name.find_first_not_of("0123456789.") == name.npos);
  }
  static std::string checked_token(std::string token) {
    bool const is_one =
        std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < '\x7f' && c != '"' && c != '\\'; });
    if (is_one) return token;
    throw error{boost::system::errc::make_error_code(boost::system::errc::invalid_argument),
                "api_datastore",
                {},
                "the token has characters that no token has: white space, a line's end, a quote or a backslash"};
  }

  std::string url_, token_;
  std::chrono::milliseconds timeout_, pause_;
  http_client http_;
  std::minstd_rand chance_{std::random_device{}()};
};

}  // namespace stash::inline v1::ckan::detail
