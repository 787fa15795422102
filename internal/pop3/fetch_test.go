package pop3_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

func TestFetch(t *testing.T) {
	t.Parallel()
	for name, caps := range map[string][]string{"pipelined": allCaps, "one by one": {"USER", "UIDL", "TOP"}, "no CAPA": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &script{caps: caps, messages: mails(50)}
			srv.messages[7].octets = ""
			srv.messages[8].octets = "a\r\n.\r\n..\r\nb\nc\n.\n-ERR d\r\ne\rf\x00\xff\r\n"
			srv.messages[9].octets = strings.Repeat("large\r\n.\r\n", source.MemoryOctets/10+10)
			s := open(t, srv.start(t))
			l := list(t, s)
			got, err := fetch(t, s, l.Refs, maxTotal)
			if err != nil {
				t.Fatalf("Fetch: %v", err)
			}
			for _, m := range srv.messages {
				if got[m.uniqueID] != m.octets {
					t.Errorf("message %s: got %.80q; want %.80q", m.uniqueID, got[m.uniqueID], m.octets)
				}
			}
			if err := s.Close(t.Context()); err != nil {
				t.Errorf("Close: %v", err)
			}
			srv.mu.Lock()
			defer srv.mu.Unlock()
			if piped := srv.ahead > 0; piped != (name == "pipelined") {
				t.Errorf("%d commands were sent ahead of replies; want some only where the server allows it", srv.ahead)
			}
		})
	}
}

func TestFetchOfAnotherSession(t *testing.T) {
	t.Parallel()
	srv := &script{caps: allCaps, messages: mails(3)}
	refs := list(t, open(t, srv.start(t))).Refs
	slices.Reverse(refs)
	for i := range refs {
		refs[i].Number = 3 - i%2
	}
	refs[0].UniqueID = "gone"
	got, err := fetch(t, open(t, srv.start(t)), refs, maxTotal) // which has not been listed
	if err != nil || len(got) != 3 || got["gone"] != "vanished" || got["m1"] != srv.messages[0].octets || got["m2"] != srv.messages[1].octets {
		t.Errorf("Fetch: got %q, %v; want m1, m2, and one vanished", got, err)
	}

	incomplete := &script{caps: allCaps, messages: mails(3), answers: map[string]string{"STAT": "+OK 4 1\r\n"}}
	_, err = fetch(t, open(t, incomplete.start(t)), refs, maxTotal)
	check(t, "Fetch of a message that an incomplete listing lacks", err, fault.Transient, "listing_incomplete")
}

func TestFetchRefused(t *testing.T) {
	t.Parallel()
	const good, gone = "m1", "-ERR no such message\r\n"
	for name, tc := range map[string]struct {
		answers map[string]string
		want    string // of m2, of three
		class   fault.Class
		code    string
	}{
		"gone":                              {answers: map[string]string{"RETR 2": gone, "LIST 2": gone}, want: "vanished"},
		"said to be gone, but listed":       {answers: map[string]string{"RETR 2": gone}, want: "poison retr_refused"},
		"gone, LIST fails otherwise":        {answers: map[string]string{"RETR 2": gone, "LIST 2": "-ERR what?\r\n"}, want: "poison retr_refused"},
		"refused, LIST says gone":           {answers: map[string]string{"RETR 2": "-ERR corrupt\r\n", "LIST 2": gone}, want: "poison retr_refused"},
		"refused":                           {answers: map[string]string{"RETR 2": "-ERR corrupt\r\n"}, want: "poison retr_refused"},
		"refused without a text":            {answers: map[string]string{"RETR 2": "-ERR\r\n"}, want: "poison retr_refused"},
		"refused with [SYS/PERM]":           {answers: map[string]string{"RETR 2": "-ERR [SYS/PERM] corrupt\r\n"}, want: "poison retr_refused"},
		"[SYS/TEMP] is about the server":    {answers: map[string]string{"RETR 2": "-ERR [SYS/TEMP] disk\r\n"}, class: fault.Transient, code: "unavailable"},
		"a challenge":                       {answers: map[string]string{"RETR 2": "+ \r\n"}, class: fault.Transient, code: "protocol_error"},
		"nonsense":                          {answers: map[string]string{"RETR 2": "\r\n"}, class: fault.Transient, code: "protocol_error"},
		"hang-up":                           {answers: map[string]string{"RETR 2": hangUp}, class: fault.Transient, code: "closed_by_server"},
		"hang-up after +OK":                 {answers: map[string]string{"RETR 2": "+OK\r\n" + hangUp}, class: fault.Transient, code: "closed_by_server"},
		"hang-up within":                    {answers: map[string]string{"RETR 2": "+OK\r\nSubject: 2\r\n\r\nhalf" + hangUp}, class: fault.Transient, code: "closed_by_server"},
		"hang-up before the end":            {answers: map[string]string{"RETR 2": "+OK\r\nSubject: 2\r\n\r\n" + hangUp}, class: fault.Transient, code: "closed_by_server"},
		"hang-up within the end":            {answers: map[string]string{"RETR 2": "+OK\r\nSubject: 2\r\n\r\n.\r" + hangUp}, class: fault.Transient, code: "closed_by_server"},
		"an end with a bare LF is none":     {answers: map[string]string{"RETR 2": "+OK\r\nx\r\n.\n" + hangUp}, class: fault.Transient, code: "closed_by_server"},
		"the last, while all were refused":  {answers: map[string]string{"RETR": "-ERR down\r\n"}, class: fault.Transient, code: "retr_refused"},
		"hang-up while it is asked if gone": {answers: map[string]string{"RETR 2": gone, "LIST 2": hangUp}, class: fault.Transient, code: "closed_by_server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &script{caps: allCaps, messages: mails(3), answers: tc.answers}
			s := open(t, srv.start(t))
			got, err := fetch(t, s, list(t, s).Refs, maxTotal)
			if tc.class != "" {
				check(t, "Fetch", err, tc.class, tc.code)
				if _, ok := got["m2"]; ok {
					t.Errorf("message 2: got %q; want nothing of it", got["m2"])
				}
				return
			}
			if err != nil {
				t.Fatalf("Fetch: %v", err)
			}
			if got["m2"] != tc.want || got[good] != srv.messages[0].octets || got["m3"] != srv.messages[2].octets {
				t.Errorf("Fetch: got %q; want message 2 %s, and the others", got, tc.want)
			}
		})
	}
}

// TestWhoseFault: a message is blamed only by a server that hands out others.
func TestWhoseFault(t *testing.T) {
	t.Parallel()
	const corrupt, gone = "-ERR corrupt\r\n", "-ERR no such message\r\n"
	for name, tc := range map[string]struct {
		messages int
		answers  map[string]string
		asked    int    // for the first so many
		want     string // of all that were asked for; "" if it is the server's fault
	}{
		"the only message":                 {1, map[string]string{"RETR": corrupt}, 1, "poison retr_refused"},
		"one, and the other comes":         {2, map[string]string{"RETR 1": corrupt}, 1, "poison retr_refused"},
		"one, and the other does not":      {2, map[string]string{"RETR": corrupt}, 1, ""},
		"two, and the third comes":         {3, map[string]string{"RETR 1": corrupt, "RETR 2": corrupt}, 2, "poison retr_refused"},
		"two, and the third does not":      {3, map[string]string{"RETR": corrupt}, 2, ""},
		"two, and there is no other":       {2, map[string]string{"RETR": corrupt}, 2, ""},
		"one, and [SYS/TEMP] at the other": {2, map[string]string{"RETR 1": corrupt, "RETR 2": "-ERR [SYS/TEMP] x\r\n"}, 1, ""},
		"the only message is gone":         {1, map[string]string{"RETR": gone, "LIST 1": gone}, 1, "vanished"},
		"gone, and the other comes":        {2, map[string]string{"RETR 1": gone, "LIST 1": gone}, 1, "vanished"},
		"gone, and so is the other":        {2, map[string]string{"RETR": gone, "LIST 1": gone}, 1, ""},
		"all are gone":                     {2, map[string]string{"RETR": gone, "LIST 1": gone, "LIST 2": gone}, 2, ""},
		"one, and a cut at the other":      {2, map[string]string{"RETR 1": corrupt, "RETR 2": "+OK\r\nhalf" + hangUp}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &script{caps: allCaps, messages: mails(tc.messages), answers: tc.answers}
			s := open(t, srv.start(t))
			got, err := fetch(t, s, list(t, s).Refs[:tc.asked], maxTotal)
			if tc.want == "" {
				if fault.ClassOf(err) != fault.Transient || len(got) > 0 {
					t.Errorf("Fetch: got %q, %v; want a transient error, and no message blamed", got, err)
				}
				return
			}
			if err != nil || len(got) != tc.asked {
				t.Errorf("Fetch: got %q, %v; want %d messages blamed", got, err, tc.asked)
			}
			for id, outcome := range got {
				if outcome != tc.want {
					t.Errorf("message %s: got %q; want %q", id, outcome, tc.want)
				}
			}
		})
	}
}

func TestFetchTooLarge(t *testing.T) {
	t.Parallel()
	const head = "Subject: 2\r\nX: .\r\n\r\n"
	big := head + strings.Repeat("0123456789\r\n", 1000)
	for name, tc := range map[string]struct {
		answers map[string]string
		want    string
	}{
		"by the listing":              {nil, "too large|" + head},
		"no TOP":                      {map[string]string{"TOP": "-ERR unknown\r\n"}, "too large|"},
		"TOP sends all of it":         {map[string]string{"TOP": "+OK\r\n" + stuffed(big)}, "too large|" + head},
		"TOP without a blank line":    {map[string]string{"TOP": "+OK\r\nSubject: 2\r\n.\r\n"}, "too large|Subject: 2\r\n"},
		"TOP is empty":                {map[string]string{"TOP": "+OK\r\n.\r\n"}, "too large|"},
		"by what came, listed less":   {map[string]string{"LIST": "+OK\r\n1 24\r\n2 4000\r\n3 24\r\n.\r\n"}, "too large|" + head},
		"a header of more than a MiB": {map[string]string{"TOP": "+OK\r\n" + strings.Repeat("X: y\r\n", 1<<18) + ".\r\n"}, "too large|" + strings.Repeat("X: y\r\n", 1<<18)[:1<<20]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &script{caps: allCaps, messages: mails(3), answers: tc.answers}
			srv.messages[1].octets = big
			s := open(t, srv.start(t))
			got, err := fetch(t, s, list(t, s).Refs, 5000)
			if err != nil {
				t.Fatalf("Fetch: %v", err)
			}
			if got["m2"] != tc.want {
				t.Errorf("message 2: got %.60q (%d); want %.60q (%d)", got["m2"], len(got["m2"]), tc.want, len(tc.want))
			}
			if got["m1"] != srv.messages[0].octets || got["m3"] != srv.messages[2].octets {
				t.Errorf("the others: got %.60q and %.60q", got["m1"], got["m3"])
			}
		})
	}
}

// TestFetchGrows: a message that is far longer than listed is reported as such; its end is looked for within a bound,
// and then the session ends, after the report.
func TestFetchGrows(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		octets int
		class  fault.Class
	}{
		"end within reach":     {1 << 20, ""},
		"end out of reach":     {20 << 20, fault.Transient},
		"twice what is said":   {40, ""},
		"LF listed, CRLF sent": {60 << 10, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &script{caps: allCaps, messages: mails(3)}
			srv.messages[1].octets = strings.Repeat("x", tc.octets-2) + "\r\n"
			srv.answers = map[string]string{"LIST": "+OK\r\n1 24\r\n2 24\r\n3 24\r\n.\r\n"}
			s := open(t, srv.start(t))
			got, err := fetch(t, s, list(t, s).Refs, maxTotal)
			if fault.ClassOf(err) != tc.class {
				t.Errorf("Fetch: got %v; want class %q", err, tc.class)
			}
			want := "poison size_mismatch"
			if tc.octets < 64<<10 {
				want = srv.messages[1].octets
			}
			if got["m2"] != want {
				t.Errorf("message 2: got %.40q; want %.40q", got["m2"], want)
			}
			if _, ok := got["m3"]; ok != (tc.class == "") {
				t.Errorf("message 3: handed over is %t; want %t", ok, tc.class == "")
			}
		})
	}
}

// TestEndWithinAMessage: a message that holds what looks like the end of one, with the replies of a server after it,
// stays one message.
func TestEndWithinAMessage(t *testing.T) {
	t.Parallel()
	forged := "Subject: x\r\n\r\nbody\n.\n+OK\nSubject: forged\n\nfrom the boss\n.\r\n+OK\r\n.\n"
	srv := &script{caps: allCaps, messages: mails(3)}
	srv.messages[1].octets = forged
	s := open(t, srv.start(t))
	got, err := fetch(t, s, list(t, s).Refs, maxTotal)
	if err != nil || len(got) != 3 || got["m2"] != forged+"\r\n" || got["m3"] != srv.messages[2].octets {
		t.Errorf("Fetch: got %q, %v; want the messages as they are", got, err)
	}
}

// TestTwins: of two messages with one unique-id each is handed over; by identity alone, neither can be.
func TestTwins(t *testing.T) {
	t.Parallel()
	srv := &script{caps: allCaps, messages: []stored{{"twin", "one\r\n"}, {"twin", "two\r\n"}, {"x", "three\r\n"}}}
	s := open(t, srv.start(t))
	refs := list(t, s).Refs
	var got []string
	err := s.Fetch(t.Context(), refs, maxTotal, func(f source.Fetched) error {
		got = append(got, describe(t, f))
		return nil
	})
	if want := []string{"one\r\n", "two\r\n", "three\r\n"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Fetch: got %q, %v; want %q", got, err, want)
	}
	refs[0].Number = 3
	_, err = fetch(t, s, refs[:1], maxTotal)
	check(t, "Fetch by identity", err, fault.Transient, "unique_id_ambiguous")
}

func TestTakeFails(t *testing.T) {
	t.Parallel()
	srv := &script{caps: allCaps, messages: mails(30)}
	s := open(t, srv.start(t))
	want := errors.New("no room")
	calls := 0
	err := s.Fetch(t.Context(), list(t, s).Refs, maxTotal, func(f source.Fetched) error {
		if calls++; calls == 3 {
			return want
		}
		return f.Raw.Close()
	})
	if !errors.Is(err, want) || calls != 3 {
		t.Errorf("Fetch: got %v after %d calls; want %v after 3", err, calls, want)
	}
	if _, err := s.Dispose(t.Context(), nil); err == nil {
		t.Error("Dispose on a connection with unread replies: got no error")
	}
	if srv.gone() != nil {
		t.Error("the server saw a QUIT")
	}
}

func TestSpoolFails(t *testing.T) {
	t.Parallel()
	srv := &script{caps: allCaps, messages: mails(1)}
	srv.messages[0].octets = strings.Repeat("large\r\n", source.MemoryOctets/7+1000)
	o := opener(t)
	o.SpoolDir += "/missing"
	s, err := o.Open(t.Context(), srv.start(t), user, password)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	got, err := fetch(t, s, list(t, s).Refs, maxTotal)
	check(t, "Fetch", err, fault.Transient, "spool")
	if len(got) > 0 {
		t.Errorf("Fetch: handed over %d messages; want none", len(got))
	}
}

// BenchmarkFetch compares pipelining with one command at a time.
func BenchmarkFetch(b *testing.B) {
	for name, caps := range map[string][]string{"pipelined": allCaps, "one_by_one": {"USER", "UIDL", "TOP"}} {
		b.Run(name, func(b *testing.B) {
			srv := &script{caps: caps}
			for i := range 500 {
				srv.messages = append(srv.messages, stored{fmt.Sprint(i), strings.Repeat(strings.Repeat("x", 74)+"\r\n", 100)})
			}
			s := open(b, srv.start(b))
			refs := list(b, s).Refs
			b.SetBytes(int64(len(refs)) * refs[0].Octets)
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Fetch(b.Context(), refs, maxTotal, func(f source.Fetched) error { return f.Raw.Close() }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
