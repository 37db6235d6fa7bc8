#pragma once

#include <curl/curl.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stash/detail/fork.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::ckan::detail {

/// What came of a request.
struct http_answer {
  int status = 0;  ///< 0: no whole answer came
  std::string body;
  std::string problem;          ///< why none came
  bool may_pass = false;        ///< another try may find the site: it was not reached
  bool may_have_acted = false;  ///< where none came: something was sent
  std::optional<std::chrono::seconds> retry_after;
};

/// How long a request may take.
struct http_deadlines {
  std::chrono::milliseconds connect, silence, whole;
};

/// POST requests of JSON to one site, one after the other over a connection that is kept. Certificates are verified;
/// proxies are those of the environment, as for curl itself, and so are the certificates (CURL_CA_BUNDLE,
/// SSL_CERT_FILE, SSL_CERT_DIR). Follows no redirect: the token is the site's alone. Not thread safe.
///
/// A forked child leaves its parent's connection alone, and makes its own.
class http_client {
 public:
  /// `token` may be empty. `is_here`: the site is on this machine, and no proxy is asked.
  http_client(std::string const& token, http_deadlines const& within, bool is_here = false)
      : within_(within), is_here_(is_here) {
    static ::CURLcode const is_ready = ::curl_global_init(CURL_GLOBAL_DEFAULT);  // once, whoever is first
    if (is_ready != CURLE_OK) throw std::bad_alloc{};
    add_header("Content-Type: application/json");
    add_header("Accept: application/json");
    add_header("Expect:");  // it would wait a second for proxies that do not know it
    if (!token.empty()) add_header("Authorization: " + token);
  }
  http_client(http_client const&) = delete;
  http_client& operator=(http_client const&) = delete;
  ~http_client() = default;

  /// `may_repeat`: the request may be sent again where a connection that was kept breaks amid it. (libcurl would send
  /// any again.)
  http_answer post(std::string const& url, std::string_view body, bool may_repeat, std::chrono::milliseconds until) {
    std::lock_guard const no_fork{fork_};
    if (!easy_) prepare();
    request now{{}, body, 0, may_repeat, false};
    set(CURLOPT_URL, url.c_str());
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<::curl_off_t>(body.size()));
    set(CURLOPT_READDATA, &now);
    set(CURLOPT_SEEKDATA, &now);
    set(CURLOPT_WRITEDATA, &now);
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(std::clamp(until, std::chrono::milliseconds(1), within_.whole).count()));
    why_[0] = '\0';
    ::CURLcode const result = ::curl_easy_perform(easy_.get());
    return answer_of(result, now);
  }

 private:
  struct request {
    std::string answer;
    std::string_view body;
    std::size_t sent;
    bool may_repeat, is_too_long;
  };
  struct cleaning {
    void operator()(::CURL* easy) const noexcept { ::curl_easy_cleanup(easy); }
    void operator()(::curl_slist* list) const noexcept { ::curl_slist_free_all(list); }
  };

  static constexpr std::size_t longest_answer = 64U << 20U;  // bytes

  template <class Value>
  void set(::CURLoption option, Value value) {
    if (::curl_easy_setopt(easy_.get(), option, value) != CURLE_OK) throw std::bad_alloc{};
  }
  void add_header(std::string const& line) {
    ::curl_slist* const more = ::curl_slist_append(headers_.get(), line.c_str());
    if (more == nullptr) throw std::bad_alloc{};
    if (!headers_) headers_.reset(more);  // else it is the same
  }

  void prepare() {
    easy_.reset(::curl_easy_init());
    if (!easy_) throw std::bad_alloc{};
    set(CURLOPT_ERRORBUFFER, why_.get());
    set(CURLOPT_HTTPHEADER, headers_.get());
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_POST, 1L);
    set(CURLOPT_PROTOCOLS_STR, "https,http");
    if (is_here_) set(CURLOPT_NOPROXY, "*");
    set(CURLOPT_READFUNCTION, read);
    set(CURLOPT_UPLOAD_BUFFERSIZE, 262'144L);  // of one send, in bytes; 64 KiB otherwise
    set(CURLOPT_SEEKFUNCTION, seek);
    set(CURLOPT_WRITEFUNCTION, write);
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(within_.connect.count()));
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);  // a byte a second
    auto const silence = std::chrono::ceil<std::chrono::seconds>(within_.silence);
    set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(silence.count()));
    for (char const* const name : {"CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
      char const* const file = std::getenv(name);
      if (file == nullptr || *file == '\0') continue;
      set(CURLOPT_CAINFO, file);
      break;
    }
    if (char const* const directory = std::getenv("SSL_CERT_DIR"); directory != nullptr && *directory != '\0') {
      set(CURLOPT_CAPATH, directory);
    }
  }

  http_answer answer_of(::CURLcode result, request& now) {
    http_answer answer;
    if (result == CURLE_OK) {
      long status = 0;
      ::curl_off_t seconds = 0;
      ::curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
      ::curl_easy_getinfo(easy_.get(), CURLINFO_RETRY_AFTER, &seconds);
      answer.status = static_cast<int>(status);
      constexpr ::curl_off_t day = 86'400;
      if (seconds > 0) answer.retry_after.emplace(std::min(seconds, day));
      answer.body = std::move(now.answer);
      return answer;
    }
    answer.problem = why_[0] != '\0' ? why_.get() : ::curl_easy_strerror(result);
    if (now.is_too_long) answer.problem = "the answer is longer than 64 MiB";
    constexpr ::CURLcode unreached[] = {CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT};
    // These end before anything is sent, and will do so again.
    constexpr ::CURLcode never[] = {
        CURLE_UNSUPPORTED_PROTOCOL,     CURLE_URL_MALFORMAT,      CURLE_SSL_CERTPROBLEM, CURLE_SSL_CIPHER,
        CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CRL_BADFILE};
    ::curl_off_t until_sent =
        0;  // microseconds; 0: it did not come so far, for a time-out amid a handshake, or a reset
    ::curl_easy_getinfo(easy_.get(), CURLINFO_PRETRANSFER_TIME_T, &until_sent);
    bool const is_for_ever = is_among(never, result);
    answer.may_pass = !is_for_ever && (until_sent == 0 || is_among(unreached, result));
    answer.may_have_acted = !is_for_ever && !answer.may_pass;
    return answer;
  }
  template <std::size_t n>
  static bool is_among(::CURLcode const (&all)[n], ::CURLcode one) noexcept {
    return std::find(std::begin(all), std::end(all), one) != std::end(all);
  }

  static std::size_t read(char* to, std::size_t, std::size_t size, void* with) {
    auto& now = *static_cast<request*>(with);
    std::size_t const n = std::min(size, now.body.size() - now.sent);
    std::memcpy(to, now.body.data() + now.sent, n);
    now.sent += n;
    return n;
  }
  static int seek(void* with, ::curl_off_t at, int origin) {
    auto& now = *static_cast<request*>(with);
    if (origin != SEEK_SET || at != 0 || !now.may_repeat) return CURL_SEEKFUNC_FAIL;
    now.sent = 0;
    return CURL_SEEKFUNC_OK;
  }
  static std::size_t write(char* from, std::size_t, std::size_t size, void* with) noexcept {
    auto& now = *static_cast<request*>(with);
    now.is_too_long = now.answer.size() + size > longest_answer;
    if (now.is_too_long) return 0;
    try {
      now.answer.append(from, size);
    } catch (...) {
      return 0;
    }
    return size;
  }

  http_deadlines within_;
  bool is_here_;
  std::unique_ptr<::curl_slist, cleaning> headers_;
  std::unique_ptr<char[]> why_ = std::make_unique<char[]>(CURL_ERROR_SIZE);
  std::unique_ptr<::CURL, cleaning> easy_;
  std::mutex fork_;
  // In a child, its memory is lost: to clean up would end the parent's TLS session.
  stash::detail::at_fork hook_{fork_, [] {}, [this] { [[maybe_unused]] auto* const lost = easy_.release(); }};
};

}  // namespace stash::inline v1::ckan::detail
