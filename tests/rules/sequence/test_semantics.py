"""What a sequence means: a case for every sentence of it."""

import pytest

from gateway.rules.sequence import KEPT_MAX, Match, Timeout
from tests.rules.sequence.kit import Rule, play

# -- links ------------------------------------------------------------------------------------------------------


def test_then_takes_the_first_event_that_fits_and_passes_over_others():
    assert play("a b c", "a@0 c1@1 b@2 b2@3 c2@4") == ["4 a:a b:b c:c2"]


def test_next_must_be_the_very_next_selected_event():
    assert play("a next.b", "a@0 b@1") == ["1 a:a b:b"]
    assert play("a next.b (c|d)", "a@0 c@1 b@2 d@3") == []


def test_what_only_a_not_selects_stands_between_too():
    assert play("a next.b !x/5", "a@0 x@1 b@2", 99) == []


def test_an_event_that_fits_nothing_is_not_there():
    rule = Rule("a next.b")
    matcher = rule.matcher()
    assert not matcher.feed(0, ("a",), "a")
    assert not matcher.feed(1, (), "?")
    assert [found.at for found in matcher.feed(2, ("b",), "b")] == [2]


def test_any_takes_every_event_that_fits_and_goes_on_without_it():
    assert play("a any.b", "a@0 b1@1 b2@2", mode="parallel") == ["1 a:a b:b1", "2 a:a b:b2"]
    assert play("a any.b next.c", "a@0 b1@1 b2@2 c@3") == ["3 a:a b:b2 c:c"]
    assert play("a b next.c", "a@0 b1@1 b2@2 c@3") == []
    found = play("any.a{3}", "a1@0 a2@1 a3@2 a4@3", mode="parallel")
    assert found == ["2 a:a1,a2,a3", "3 a:a1,a2,a4", "3 a:a1,a3,a4", "3 a:a2,a3,a4"]


def test_the_link_of_a_step_holds_between_its_repetitions():
    assert play("a b{2}", "a@0 b1@1 a2@2 b2@3") == ["3 a:a b:b1,b2"]
    assert play("a next.b{2}", "a@0 b1@1 a2@2 b2@3") == []
    assert play("next.a{2} b", "a1@0 b@1 a2@2 a3@3 b2@4") == ["4 a:a2,a3 b:b2"]


def test_an_event_advances_an_attempt_by_one_step_at_most():
    assert play("a b=a c=a", "a1@0 a2@1 a3@2") == ["2 a:a1 b:a2 c:a3"]


# -- times ------------------------------------------------------------------------------------------------------


def test_times_n_needs_n():
    assert play("a{3} b", "a1@0 a2@1 b1@2 a3@3 a4@4 b2@5") == ["5 a:a1,a2,a3 b:b2"]


def test_times_as_last_step_completes_at_n():
    assert play("a b{2..4}", "a@0 b1@1 b2@2 b3@3 b4@4 b5@5") == ["2 a:a b:b1,b2"]


def test_an_event_that_fits_a_repetition_and_the_next_step_goes_to_the_next_step():
    assert play("a{1..3} b", "a1@0 a2@1 ab@2 b@3") == ["2 a:a1,a2 b:ab"]


def test_an_event_that_only_fits_the_repetition_repeats():
    assert play("a{1..3} b", "a1@0 a2@1 a3@2 a4@3 b@4") == ["4 a:a1,a2,a3 b:b"]


def test_greedy_prefers_the_repetition():
    assert play("a{1..3}g b", "a1@0 a2@1 ab@2 b@3") == ["3 a:a1,a2,ab b:b"]


def test_greedy_as_last_step_completes_at_m():
    assert play("a b{2..4}g", "a@0 b1@1 b2@2 b3@3 b4@4 b5@5", within=50) == ["4 a:a b:b1,b2,b3,b4"]


def test_greedy_as_last_step_takes_what_came_until_the_end_of_within():
    assert play("a b{2..4}g", "a@0 b1@1 b2@2 b3@3", 50, within=10) == ["10 a:a b:b1,b2,b3"]
    assert play("a b{2..}g", "a@0 b1@1", 50, within=10) == ["10! a:a b:b1"]


def test_greedy_as_last_step_is_complete_when_an_event_breaks_it_and_that_event_may_start():
    assert play("a next.b{1..4}g", "a1@0 b1@1 b2@2 a2@3 b3@4 a3@5") == ["3 a:a1 b:b1,b2", "5 a:a2 b:b3"]


def test_greedy_as_last_step_is_complete_when_a_restart_ends_it():
    found = play("a b{1..}g", "a1@0 b1@1 b2@2 a2@3 a3@4 b3@5", 50, within=10, mode="restart")
    assert found == ["3 a:a1 b:b1,b2", "14 a:a3 b:b3"]


def test_times_without_an_upper_number_are_bounded_by_within():
    assert play("a{2..} b", "a1@0 a2@3 a3@6 a4@9 b@10", within=10) == ["10! a:a1,a2,a3,a4"]


def test_times_0_may_be_left_out():
    assert play("a b{0..1} c", "a1@0 b@1 c1@2 a2@3 c2@4") == ["2 a:a1 b:b c:c1", "4 a:a2 c:c2"]
    assert play("a b{0..1} c", "a@0 bc@1 c@2") == ["1 a:a c:bc"]
    assert play("a b{0..1}g c", "a@0 bc@1 c@2") == ["2 a:a b:bc c:c"]
    assert play("a{0..1} b", "b1@0 a@1 b2@2") == ["0 b:b1", "2 a:a b:b2"]
    assert play("a{1..2} b{0..1}g", "a1@0 a2@1 b@2", within=10) == ["2 a:a1 b:b"]
    assert play("a b{0..1}", "a@0 b@1") == ["0 a:a"]


def test_next_after_a_step_that_is_left_out_is_judged_from_the_step_before():
    assert play("a b{0..1} next.c", "a@0 c@1") == ["1 a:a c:c"]
    assert play("a b{0..1} next.c x{0..1} d", "a@0 x@1 c@2 d@3") == []
    assert play("a b{0..1} next.c x{0..1} d", "a@0 x@1 b@2 c@3 d@4") == ["4 a:a b:b c:c d:d"]


def test_a_repetition_beyond_the_bound_counts_and_keeps_the_first_and_the_newest():
    rule = Rule("a{300} b")
    matcher = rule.matcher()
    for n in range(300):
        assert not matcher.feed(n, ("a",), n)
    (match,) = matcher.feed(300, ("b",), 300)
    assert match.steps["a"] == (*range(KEPT_MAX - 1), 299)
    assert matcher.repetitions_dropped == 300 - KEPT_MAX


# -- not --------------------------------------------------------------------------------------------------------


def test_not_in_the_middle_breaks_until_the_next_step():
    assert play("a !x b", "a@0 x@1 b@2") == []
    assert play("a !x b", "x1@0 a@1 b@2 x2@3") == ["2 a:a b:b"]


def test_not_in_the_middle_takes_its_own_for_counted_from_the_step_before():
    assert play("a !x/5 b", "a@0 x@4 b@6") == []
    assert play("a !x/5 b", "a@0 x@5 b@6") == ["6 a:a b:b"]
    assert play("a b !x/5 c", "a@0 b@10 x@14 c@16") == []
    assert play("a b !x/5 c", "a@0 b@10 x@15 c@16") == ["16 a:a b:b c:c"]


def test_the_step_behind_a_not_opens_when_its_time_is_over():
    assert play("a !x/5 b", "a@0 b1@4 b2@5") == ["5 a:a b:b2"]
    assert play("a !x/5 next.b", "a@0 b1@4 b2@5") == []


def test_not_at_the_end_is_complete_when_its_time_is_over():
    assert play("a !x/5", "a@0", 4) == []
    assert play("a !x/5", "a@0", 5) == ["5 a:a"]
    assert play("a !x/5", "a@0 x@4", 9) == []
    assert play("a !x/5", "a@0 x@5", 9) == ["5 a:a"]


def test_not_at_the_end_without_a_time_ends_with_within():
    assert play("a b !x", "a@0 b@4", 99, within=10) == ["10 a:a b:b"]
    assert play("a b !x", "a@0 b@4 x@9", 99, within=10) == []


def test_not_at_the_end_whose_time_is_over_with_within_completes_and_later_does_not():
    assert play("a b !x/5", "a@0 b@5", 99, within=10) == ["10 a:a b:b"]
    assert play("a b !x/5", "a@0 b@6", 99, within=10) == ["10! a:a b:b"]


def test_not_at_the_start_waits_for_quiet_and_a_violation_counts_it_anew():
    assert play("!x/10 a", "a1@9 a2@10", at=0) == ["10 a:a2"]
    assert play("!x/10 a", "x@5 a1@14 a2@15", at=0) == ["15 a:a2"]
    assert play("!x/10 a", "x1@5 x2@9 a1@18 a2@19", at=0) == ["19 a:a2"]


def test_not_at_the_start_counts_from_the_first_look_where_no_time_is_given():
    assert play("!x/10 a", "a1@100 a2@109 a3@110") == ["110 a:a3"]


def test_the_first_event_after_quiet_can_be_of_the_kind_that_was_quiet():
    assert play("!x/10 y=x", "x1@5 x2@14 x3@24 x4@30", at=0) == ["24 y:x3"]


def test_within_counts_from_the_first_matched_event_not_from_the_not_before_it():
    assert play("!x/10 a b", "a@50 b@54", at=0, within=5) == ["54 a:a b:b"]
    assert play("!x/10 a b", "a@50 b@55", at=0, within=5) == ["55! a:a"]


def test_nots_in_a_row_hold_side_by_side():
    assert play("a !x/5 !y/8 b", "a@0 y@6 b@9") == []
    assert play("a !x/5 !y/8 b", "a@0 x@6 b1@7 b2@8") == ["8 a:a b:b2"]
    assert play("a !x !y/8 b", "a@0 y@8 x@9 b@10") == []
    assert play("a !x/5 !y/8", "a1@0 a2@20 y@27", 99) == ["8 a:a1"]


def test_a_violation_comes_before_anything_else_that_the_event_could_do():
    assert play("a !x b", "a@0 xb@1 b@2") == []


def test_a_step_that_repeats_is_followed_by_its_not_from_the_nth_event_on_counted_from_the_newest():
    assert play("a{2..4} !x/5", "a1@0 x@1 a2@2 a3@5", 99) == ["10 a:a1,a2,a3"]
    assert play("a{2..4} !x/5", "a1@0 a2@2 x@5 a3@6", 99) == []
    assert play("a{2..4} !x/5 b", "a1@0 a2@6 b@11") == ["11 a:a1,a2 b:b"]
    assert play("a{1..4} !x/5 b", "a1@0 a2@4 a3@9 b@9") == ["9 a:a1,a2 b:b"]


def test_a_not_behind_a_step_that_was_left_out_leaves_the_way_through_that_step_open():
    assert play("a b{0..1} !y c", "a@0 y@1 c@2 b@3 c2@4") == ["4 a:a b:b c:c2"]
    assert play("a b{0..1} !y/5", "a@0 y@1 b@2", 99) == ["7 a:a b:b"]
    assert play("a b{0..1} !x=y c{0..1} !z=y d", "a@0 y@1 c1@2 d1@3 b@4 c2@5 d2@6") == ["6 a:a b:b c:c2 d:d2"]
    assert play("a b{0..1} !x c{0..1} !y d", "a@0 x@1 y@2 c@3 d@4") == []
    # an event in between (f1) costs the way through b, and a violation does not bring it back
    assert play("a next.b{0..1} e{0..1} !y c f", "a@0 f1@1 yb@2 e@3 c@4 f2@5") == ["5 a:a e:e c:c f:f2"]


# -- groups -----------------------------------------------------------------------------------------------------


def test_all_needs_every_branch_in_any_order():
    assert play("(a&b) c", "b@0 c1@1 a@2 c2@3") == ["3 b:b a:a c:c2"]


def test_one_event_fills_one_branch_the_first_listed_that_is_open_and_fits():
    assert play("(a&b) c", "ab1@0 ab2@1 c@2") == ["2 a:ab1 b:ab2 c:c"]
    assert play("(a&b) c", "ab@0 c1@1 a@2 c2@3 b@4 c3@5") == ["5 a:ab b:b c:c3"]
    assert play("(b|a) c", "ab@0 c@1") == ["1 b:ab c:c"]
    assert play("d (a&b&c)", "d@0 a1@1 a2@2 b1@3 a3@4 b2@5 c@6") == ["6 d:d a:a1 b:b1 c:c"]


def test_any_group_needs_one_branch():
    assert play("a (b|c) d", "a@0 c@1 b@2 d@3") == ["3 a:a c:c d:d"]


def test_next_into_an_all_group_holds_for_each_of_its_events():
    assert play("a next.(b&c) d", "a@0 b@1 c@2 d@3") == ["3 a:a b:b c:c d:d"]
    assert play("a next.(b&c) d", "a@0 b@1 d1@2 c@3 d2@4") == []


# -- within and timeouts ----------------------------------------------------------------------------------------


def test_within_is_half_open_from_the_first_matched_event():
    assert play("a b", "a@5 b@14", within=10) == ["14 a:a b:b"]
    assert play("a b", "a@5 b@15", within=10) == ["15! a:a"]


def test_a_timer_due_at_t_fires_before_an_event_stamped_t():
    assert play("a b", "a1@0 a2@10 b@11", within=10) == ["10! a:a1", "11 a:a2 b:b"]
    assert play("a !x/10", "a1@0 ax@10", 30) == ["10 a:a1", "20 a:ax"]


def test_a_timeout_carries_its_logical_time_and_the_steps_so_far():
    rule = Rule("a b c", within=10)
    matcher = rule.matcher()
    matcher.feed(0, ("a",), "a")
    matcher.feed(3, ("b",), "b")
    assert matcher.deadline == 10
    assert matcher.feed(500, ("c",), "c") == [Timeout(10, {"a": ("a",), "b": ("b",)})]
    assert matcher.deadline is None


def test_a_match_by_time_carries_its_logical_time():
    matcher = Rule("a !x/10").matcher()
    matcher.feed(0, ("a",), "a")
    assert matcher.advance(9) == ()
    assert matcher.advance(500) == [Match(10, {"a": ("a",)})]


def test_equal_deadlines_fire_in_arming_order_and_others_in_order_of_time():
    assert play("a{1..2} !x/5", "a1@0 a2@0 a3@1", 99, mode="parallel") == ["5 a:a1,a2", "6 a:a2,a3", "6 a:a3"]
    where = {"b": lambda matched, event: matched["a"] == ("a1",)}
    # a1 sets a timer, a2 sets its own, both at 1; then b sets that of a1 anew
    assert play("a b{0..1} !x/5", "a1@1 a2@1 b@1", 99, mode="parallel", where=where) == ["6 a:a2", "6 a:a1 b:b"]


def test_a_broken_attempt_does_not_time_out():
    assert play("a !x b", "a@0 x@1", 99, within=10) == []


def test_a_start_that_matched_does_not_time_out_and_one_that_did_not_times_out_once():
    assert play("a any.b", "a@0 b@1", 99, within=10, mode="parallel") == ["1 a:a b:b"]
    assert play("a any.b !x", "a@0 b@1", 99, within=10, mode="parallel") == ["10 a:a b:b"]
    assert play("a any.b c", "a@0 b1@1 b2@2", 99, within=10) == ["10! a:a b:b1"]


def test_a_timeout_tells_the_furthest_partial_match_of_its_start():
    where = {"c": lambda matched, event: matched["b"] == ("b2",)}
    assert play("a any.b c d", "a@0 b1@1 b2@2 c@3", 99, within=10, where=where) == ["10! a:a b:b2 c:c"]


# -- attempts ---------------------------------------------------------------------------------------------------


def test_single_ignores_starts_while_an_attempt_is_open():
    assert play("a b", "a1@0 a2@1 b@2 b2@3") == ["2 a:a1 b:b"]


def test_in_single_the_event_that_completes_a_match_does_not_start_the_next():
    assert play("a b=a", "a1@0 a2@1 a3@2 a4@3") == ["1 a:a1 b:a2", "3 a:a3 b:a4"]


def test_an_event_that_violates_a_not_is_offered_as_a_new_start():
    assert play("a !x b", "a@0 ax@1 b@2") == ["2 a:ax b:b"]


def test_an_event_that_fails_a_next_is_offered_as_a_new_start():
    assert play("a next.b c", "a1@0 a2@1 b@2 c@3") == ["3 a:a2 b:b c:c"]


def test_restart_begins_anew_with_each_start():
    assert play("a b", "a1@0 a2@1 b@2 b2@3", mode="restart") == ["2 a:a2 b:b"]


def test_in_restart_an_event_that_advances_the_attempt_does_not_restart_it():
    assert play("a b=a", "a1@0 a2@1 a3@2", mode="restart") == ["1 a:a1 b:a2"]
    assert play("a b=a c", "a1@0 a2@1 a3@2 c@3", mode="restart") == []
    assert play("(a&b) c", "a1@0 a2@1 b@2 c@3", mode="restart") == ["3 a:a2 b:b c:c"]


def test_parallel_opens_a_partial_for_each_start():
    assert play("a b", "a1@0 a2@1 b@2 b2@3", mode="parallel") == ["2 a:a1 b:b", "2 a:a2 b:b"]
    assert play("a b=a", "a1@0 a2@1 a3@2", mode="parallel") == ["1 a:a1 b:a2", "2 a:a2 b:a3"]


def test_parallel_drops_the_oldest_start_over_its_bound_and_counts_it():
    rule = Rule("a b", mode="parallel", partials=2)
    matcher = rule.matcher()
    assert rule.play("a1@0 a2@1 a3@2 b@3", matcher=matcher) == ["3 a:a2 b:b", "3 a:a3 b:b"]
    assert (matcher.partials_dropped, matcher.partials) == (1, 0)


def test_parallel_drops_the_oldest_start_of_a_strict_sequence_too():
    rule = Rule("next.a{1..3} next.b", mode="parallel", partials=1)
    matcher = rule.matcher()
    assert rule.play("a1@0 a2@1 b@2", matcher=matcher) == ["2 a:a2 b:b"]
    assert matcher.partials_dropped == 1


def test_forks_of_one_attempt_are_bounded_the_oldest_goes():
    rule = Rule("a any.b c", partials=2)
    matcher = rule.matcher()
    assert rule.play("a@0 b1@1 b2@2 b3@3 c@4", matcher=matcher) == ["4 a:a b:b3 c:c"]
    assert matcher.partials_dropped == 2


def test_forks_of_any_are_bounded_and_counted_too():
    rule = Rule("a any.b c", mode="parallel", partials=3)
    matcher = rule.matcher()
    rule.play("a@0 b1@1 b2@2 b3@3 b4@4", matcher=matcher)
    assert (matcher.partials_dropped, matcher.partials) == (2, 3)


# -- strict -----------------------------------------------------------------------------------------------------


def test_a_strict_sequence_misses_no_match():
    assert play("a next.b=a next.c", "a1@0 a2@1 a3@2 c@3") == ["3 a:a2 b:a3 c:c"]
    assert play("next.a{2} next.b", "a1@0 a2@1 a3@2 b@3", mode="restart") == ["3 a:a2,a3 b:b"]


def test_a_sequence_with_any_other_link_is_not_strict():
    assert play("a{2} next.b", "a1@0 a2@1 a3@2 b@3") == []
    assert play("next.a{2} next.b", "a1@0 a2@1 a3@2 b@3") == ["3 a:a2,a3 b:b"]
    assert play("a !x/10", "a1@0 a2@2 x1@5", 99, where={"x": same_digit}) == []


def test_a_strict_sequence_reports_the_leftmost_of_overlapping_matches():
    assert play("next.a{1..3} next.b", "a1@0 a2@1 b@2") == ["2 a:a1,a2 b:b"]
    assert play("a next.b=a", "a1@0 a2@1 a3@2 a4@3") == ["1 a:a1 b:a2", "3 a:a3 b:a4"]


def test_a_strict_sequence_has_room_for_every_candidate_of_its_length():
    stream = " ".join(f"a{n}@{n}" for n in range(30)) + " b@30"
    (match,) = play("next.a{20} next.b", stream)
    assert match.startswith("30 a:a10,a11,")


def test_too_many_candidates_of_a_strict_sequence_cost_the_newest_and_are_counted():
    rule = Rule("next.a{1..} next.b", within=1000, partials=5)
    matcher = rule.matcher()
    stream = " ".join(f"a{n}@{n}" for n in range(9)) + " b@9"
    assert rule.play(stream, matcher=matcher) == ["9 a:a0,a1,a2,a3,a4,a5,a6,a7,a8 b:b"]
    assert matcher.partials_dropped == 4


def test_overlapping_candidates_time_out_once():
    assert play("a next.b=a next.c", "a1@0 a2@1", 99, within=10) == ["10! a:a1 b:a2"]
    assert play("a next.b=a next.c", "a1@0 a2@1 a3@2", 99, within=10) == ["11! a:a2 b:a3"]


def test_candidates_are_tracked_while_an_earlier_one_waits_for_its_not():
    where = {"x": same_digit}
    assert play("a next.b !x/10", "a1@0 b1@1 a2@2 b2@3 x1@5", 99, where=where) == ["13 a:a2 b:b2"]


def test_a_candidate_that_waits_does_not_hide_a_later_restart():
    assert play("a next.b !x/10", "a1@0 b1@1 a2@5 b2@6", 99, mode="restart") == ["16 a:a2 b:b2"]
    assert play("a next.b !x/10", "a1@0 b1@1 a2@5 b2@6", 99) == ["11 a:a1 b:b1"]


# -- where ------------------------------------------------------------------------------------------------------


def same_digit(matched, event):
    first = next(iter(matched.values()))[0]
    return first[-1] == event[-1]


def test_where_compares_an_event_with_what_is_matched():
    where = {"door": same_digit}
    assert play("badge=b door=d", "b1@0 d2@1 d1@2", where=where) == ["2 badge:b1 door:d1"]


def test_an_event_that_fails_where_does_not_fit():
    assert play("a next.b", "a1@0 b2@1 b1@2", where={"b": same_digit}) == []
    assert play("a !x b", "a1@0 x2@1 b@2", where={"x": same_digit}) == ["2 a:a1 b:b"]
    assert play("a !x b", "a1@0 x1@1 b@2", where={"x": same_digit}) == []
    assert play("a (b|c=b) d", "a1@0 b2@1 d@2", where={"b": same_digit}) == ["2 a:a1 c:b2 d:d"]


def test_where_of_the_first_step_sees_nothing_matched():
    seen = []
    play("a b", "a1@0", where={"a": lambda matched, event: seen.append((dict(matched), event)) or True})
    assert seen == [({}, "a1")]


def test_where_of_a_leading_not_decides_what_disturbs():
    where = {"x": lambda matched, event: event == "x1"}
    assert play("!x/10 a", "x2@5 a1@10", at=0, where=where) == ["10 a:a1"]
    assert play("!x/10 a", "x1@5 a1@10", at=0, where=where) == []


def test_what_where_raises_is_the_callers():
    def broken(matched, event):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        play("a b", "a@0 b@1", where={"b": broken})


# -- the worked examples of the language -------------------------------------------------------------------------


def test_example_3_door_opened_and_no_motion_within_30_s():
    found = play("door=d !pir=m", "d1@0 m1@12 d2@100 d3@120 d4@200 m2@230", 999, within=30, mode="restart")
    assert found == ["150 door:d3", "230 door:d4"]


def test_example_8_badge_then_door_within_15_s():
    stream = "b1@0 d1@10000 b2@50000 b3@60000 d2@74900 b4@100000 d3@115000"
    found = play("badge=b door=d", stream, within=15000, mode="restart")
    assert found == ["10000 badge:b1 door:d1", "74900 badge:b3 door:d2", "115000! badge:b4"]
