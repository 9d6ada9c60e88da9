package adapter

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"testing"

	"github.com/goairlock/airlock/core"
)

// shelf is a sorted set, or a list, of which tests know the members.
type shelf struct {
	members []Member
	reads   int
	most    int // members read at once
}

func (s *shelf) pages(sets ...string) Pages {
	return Pages{
		Sets: sets,
		Read: func(set string, from int64, n int) ([]Member, error) {
			s.reads++
			s.most = max(s.most, n)
			if set != "s" || int(from) >= len(s.members) {
				return nil, nil
			}
			return s.members[from:min(int(from)+n, len(s.members))], nil
		},
		First: func(_, score string) (int64, error) {
			return int64(sort.Search(len(s.members), func(i int) bool { return s.members[i].Score >= score })), nil
		},
	}
}

func numbered(n int, score string) (members []Member) {
	for i := range n {
		members = append(members, Member{fmt.Sprintf("m%04d", i), score})
	}
	return members
}

func TestNoMemberThatStaysIsMissed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *shelf, page int){
		"nothing changes":            func(*shelf, int) {},
		"the last of each page goes": func(s *shelf, page int) { s.members = slices.Delete(s.members, 9, 10) },
		"the first of each page go":  func(s *shelf, page int) { s.members = slices.Delete(s.members, 0, 5) },
		"others come before": func(s *shelf, page int) {
			s.members = slices.Insert(s.members, 0, Member{fmt.Sprintf("new%d", page), "1"})
		},
		"everything that was listed goes":  func(s *shelf, page int) { s.members = slices.Delete(s.members, 0, 10) },
		"much more comes than is searched": func(s *shelf, page int) { s.members = append(numbered(3*searched, "1"), s.members...) },
	} {
		for _, score := range []string{"5", ""} {
			t.Run(fmt.Sprintf("%s, score %q", name, score), func(t *testing.T) {
				t.Parallel()
				s := &shelf{members: numbered(45, score)}
				for i := range s.members {
					s.members[i].Text += " stays"
				}
				stays := slices.Clone(s.members)
				seen := map[string]int{}
				cursor := ""
				for page := 0; ; page++ {
					next, err := s.pages("a", "s", "z").Next(cursor, 10, func(set string, m Member) bool {
						seen[m.Text]++
						return true
					})
					if err != nil {
						t.Fatal(err)
					}
					if next == "" {
						break
					}
					cursor = next
					if page < 3 {
						change(s, page)
					}
					if page > 2000 {
						t.Fatal("there is no end")
					}
				}
				for _, m := range stays {
					if seen[m.Text] == 0 && slices.Contains(s.members, m) {
						t.Errorf("%s was missed", m.Text)
					}
				}
			})
		}
	}
}

func TestAPageEndsWhereItIsTold(t *testing.T) {
	t.Parallel()
	s := &shelf{members: numbered(20, "1")}
	var got []string
	visit := func(_ string, m Member) bool { got = append(got, m.Text); return len(got)%3 != 0 }
	cursor, err := s.pages("s").Next("", 100, visit)
	if err != nil || len(got) != 3 || cursor == "" {
		t.Fatalf("%q, %q, %v", got, cursor, err)
	}
	if _, err = s.pages("s").Next(cursor, 2, visit); err != nil || !slices.Equal(got, []string{"m0000", "m0001", "m0002", "m0003", "m0004"}) {
		t.Errorf("%q, %v", got, err)
	}
	if s.most > 100 {
		t.Errorf("%d members were read at once", s.most)
	}
}

func TestABadCursorIsInvalid(t *testing.T) {
	t.Parallel()
	s := &shelf{members: numbered(2, "1")}
	for _, cursor := range []string{"?", "e30x", "eyJyIjotMX0"} {
		if _, err := s.pages("s").Next(cursor, 1, func(string, Member) bool { return true }); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%q: %v", cursor, err)
		}
	}
	// A set that is gone: the page begins with the next one.
	next, err := s.pages("q", "s").Next("", 1, func(string, Member) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	if last, err := s.pages("r", "z").Next(next, 1, func(string, Member) bool { t.Error("a member of no set"); return true }); err != nil || last != "" {
		t.Errorf("%q, %v", last, err)
	}
}

// Members leave between any two calls, and not only between two pages.
func TestNoMemberIsMissedWhileOthersLeaveAllTheTime(t *testing.T) {
	t.Parallel()
	for _, score := range []string{"5", ""} {
		for _, leaving := range []int{1, 3, 30} {
			t.Run(fmt.Sprintf("score %q, %d leave", score, leaving), func(t *testing.T) {
				t.Parallel()
				before := ""
				if score != "" {
					before = "1"
				}
				s := &shelf{}
				for i := range 2000 {
					s.members = append(s.members, Member{fmt.Sprintf("goes%d", i), before})
				}
				s.members = append(s.members, numbered(45, score)...)
				leave := func() { s.members = s.members[min(leaving, len(s.members)-45):] }
				pages := s.pages("s")
				read, first := pages.Read, pages.First
				pages.Read = func(set string, from int64, n int) ([]Member, error) {
					defer leave()
					found, err := read(set, from, n)
					return slices.Clone(found), err
				}
				pages.First = func(set, score string) (int64, error) {
					defer leave()
					return first(set, score)
				}
				seen := map[string]bool{}
				for cursor := ""; ; {
					next, err := pages.Next(cursor, 7, func(_ string, m Member) bool {
						seen[m.Text] = true
						return true
					})
					if err != nil {
						t.Fatal(err)
					}
					if cursor = next; cursor == "" {
						break
					}
				}
				for _, m := range numbered(45, score) {
					if !seen[m.Text] {
						t.Errorf("%s is missing", m.Text)
					}
				}
			})
		}
	}
}
