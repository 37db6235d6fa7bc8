#pragma once

#include <algorithm>
#include <boost/json/object.hpp>
#include <optional>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/datastore.hpp>
#include <stash/ckan/swap.hpp>
#include <stash/detail/values/left_behind_json.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::ckan::detail {

/// What people typed while a new table was built goes before what was stashed.
class words_meanwhile {
 public:
  /// `stashed` may be null; `was_live` says whether it stood on the live table then: so what is gone from there since,
  /// somebody took away. `given` are the fields as the job has them, with words of its own; without it, those that the
  /// table was built with stay where people have none.
  words_meanwhile(std::string_view id, data_dictionary const* stashed, bool was_live, std::optional<fields> given)
      : id_(id), was_live_(was_live), given_(std::move(given)) {
    if (stashed != nullptr) stashed_ = detail::marked(*stashed, false);
    now_ = stashed_;
  }

  /// What is to stand on the new table. Throws `errc::mismatch` where what was stashed is no dictionary.
  table_words words(table_words built, std::optional<table_words> const& live) {
    if (live) {
      data_dictionary typed = detail::dictionary_of(live->all, live->remarks);
      now_ = was_live_ ? std::move(typed) : detail::overlaid(stashed_, typed);
    }
    for (field& f : built.all) {
      std::string type = f.type;
      if (auto const* const saved = now_.if_contains(f.id)) {
        detail::apply(f, *saved, {}, "swap");
      } else if (given_ || stashed_.contains(f.id)) {
        f = as_given(f.id);
      }
      f.type = std::move(type);  // what an override that was typed just now asks for is for the next load
    }
    built.remarks = detail::remarks_in(now_, id_);
    return built;
  }

  /// All words, as of the last call of `words`.
  data_dictionary const& dictionary() const noexcept { return now_; }
  bool has_changed() const { return !detail::is_same_text(now_, stashed_); }

  data_dictionary with_left_behind(std::vector<left_behind> const& all) const {
    data_dictionary result = now_;
    result.insert_or_assign(left_behind_key, stash::detail::as_json(all));
    return result;
  }

 private:
  field as_given(std::string const& name) const {
    if (given_) {
      auto const found = std::find_if(given_->begin(), given_->end(), [&](field const& f) { return f.id == name; });
      if (found != given_->end()) return *found;
    }
    return {name, {}, std::nullopt};
  }

  std::string_view id_;
  bool was_live_;
  std::optional<fields> given_;
  data_dictionary stashed_, now_;
};

}  // namespace stash::inline v1::ckan::detail
