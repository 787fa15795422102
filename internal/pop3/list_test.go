package pop3_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

// shown is a Ref in short: number, unique-id, octets.
func shown(refs []source.Ref) string {
	out := make([]string, len(refs))
	for i, r := range refs {
		out[i] = fmt.Sprintf("%d %s %d", r.Number, r.UniqueID, r.Octets)
	}
	return strings.Join(out, ", ")
}

func TestList(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("u", 512)
	for name, tc := range map[string]struct {
		stat, uidl, list string
		want             string
		complete         bool
	}{
		"good":                          {"2 30", "1 a\r\n2 b\r\n", "1 10\r\n2 20\r\n", "1 a 10, 2 b 20", true},
		"empty":                         {"0 0", "", "", "", true},
		"more after the size":           {"1 10", "1 a\r\n", "1 10 extra\r\n", "1 a 10", true},
		"twins":                         {"2 20", "1 a\r\n2 a\r\n", "1 10\r\n2 10\r\n", "1 a 10, 2 a 10", true},
		"out of order":                  {"3 60", "3 c\r\n1 a\r\n2 b\r\n", "2 20\r\n3 30\r\n1 10\r\n", "1 a 10, 2 b 20, 3 c 30", true},
		"unique-id with blanks":         {"1 10", "1 a b \r\n", "1 10\r\n", "1 a b  10", true},
		"unique-id begins with a blank": {"1 10", "1  a\r\n", "1 10\r\n", "1  a 10", true},
		"unique-id of 512":              {"1 10", "1 " + long + "\r\n", "1 10\r\n", "1 " + long + " 10", true},
		"octets over 127":               {"1 10", "1 \xff\x01\r\n", "1 10\r\n", "1 \xff\x01 10", true},
		"a dot first, stuffed":          {"1 10", "..1 x\r\n1 a\r\n", "1 10\r\n", "1 a 10", false},
		"unique-id too long":            {"2 20", "1 " + long + "u\r\n2 b\r\n", "1 10\r\n2 20\r\n", "2 b 20", false},
		"line far too long":             {"2 20", "1 " + strings.Repeat("u", 200_000) + "\r\n2 b\r\n", "1 10\r\n2 20\r\n", "2 b 20", false},
		"line without unique-id":        {"3 60", "1 a\r\n2\r\n3 c\r\n", "1 10\r\n2 20\r\n3 30\r\n", "1 a 10, 3 c 30", false},
		"empty unique-id":               {"2 20", "1 \r\n2 b\r\n", "1 10\r\n2 20\r\n", "2 b 20", false},
		"blank line":                    {"3 60", "1 a\r\n\r\n3 c\r\n", "1 10\r\n2 20\r\n3 30\r\n", "1 a 10, 3 c 30", false},
		"not a number":                  {"2 30", "x a\r\n2 b\r\n", "1 10\r\n2 20\r\n", "2 b 20", false},
		"number 0, -1, +1, 2^31":        {"1 10", "0 z\r\n-1 y\r\n+1 x\r\n2147483648 w\r\n1 a\r\n", "1 10\r\n", "1 a 10", false},
		"bare LF in UIDL":               {"2 30", "1 a\n2 b\r\n", "1 10\r\n2 20\r\n", "1 a\n2 b 10", false},
		"LF dot LF in UIDL":             {"2 30", "1 a\n.\n2 b\r\n", "1 10\r\n2 20\r\n", "1 a\n.\n2 b 10", false},
		"same number twice in UIDL":     {"2 30", "1 a\r\n1 b\r\n", "1 10\r\n2 20\r\n", "", false},
		"same number twice in LIST":     {"2 30", "1 a\r\n2 b\r\n", "1 10\r\n1 11\r\n", "", false},
		"size missing":                  {"2 30", "1 a\r\n2 b\r\n", "1 10\r\n2\r\n", "1 a 10", false},
		"size negative":                 {"2 30", "1 a\r\n2 b\r\n", "1 10\r\n2 -20\r\n", "1 a 10", false},
		"size of 2^64":                  {"2 30", "1 a\r\n2 b\r\n", "1 10\r\n2 18446744073709551616\r\n", "1 a 10", false},
		"LIST is shorter":               {"2 30", "1 a\r\n2 b\r\n", "2 20\r\n", "2 b 20", false},
		"UIDL is shorter":               {"2 30", "2 b\r\n", "1 10\r\n2 20\r\n", "2 b 20", false},
		"STAT counts more":              {"3 60", "1 a\r\n2 b\r\n", "1 10\r\n2 20\r\n", "1 a 10, 2 b 20", false},
		"STAT counts fewer":             {"1 10", "1 a\r\n2 b\r\n", "1 10\r\n2 20\r\n", "1 a 10, 2 b 20", false},
		"all gone but in STAT":          {"2 30", "", "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &script{caps: allCaps, answers: map[string]string{
				"STAT": "+OK " + tc.stat + "\r\n",
				"UIDL": "+OK\r\n" + tc.uidl + ".\r\n",
				"LIST": "+OK\r\n" + tc.list + ".\r\n",
			}}
			l := list(t, open(t, srv.start(t)))
			if diff := cmp.Diff(tc.want, shown(l.Refs)); diff != "" {
				t.Errorf("Refs (-want +got):\n%s", diff)
			}
			if l.Complete != tc.complete {
				t.Errorf("Complete: got %t; want %t", l.Complete, tc.complete)
			}
			if l.Folder != "INBOX" || l.UIDValidity != 0 || l.Reset {
				t.Errorf("Listing: got %+v", l)
			}
		})
	}
}

func TestListFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		caps    []string
		answers map[string]string
		class   fault.Class
		code    string
	}{
		"no UIDL":                   {nil, map[string]string{"UIDL": "-ERR unknown command\r\n"}, fault.Permanent, "uidl_missing"},
		"no UIDL, maildrop empty":   {[]string{"TOP"}, map[string]string{"UIDL": "-ERR unknown\r\n", "STAT": "+OK 0 0\r\n"}, fault.Permanent, "uidl_missing"},
		"UIDL fails, though there":  {allCaps, map[string]string{"UIDL": "-ERR index is corrupt\r\n"}, fault.Transient, "uidl_refused"},
		"UIDL fails for now":        {allCaps, map[string]string{"UIDL": "-ERR [SYS/TEMP] x\r\n"}, fault.Transient, "unavailable"},
		"LIST refused":              {allCaps, map[string]string{"LIST": "-ERR x\r\n"}, fault.Transient, "list_refused"},
		"STAT refused":              {allCaps, map[string]string{"STAT": "-ERR [IN-USE] x\r\n"}, fault.Transient, "in_use"},
		"STAT malformed":            {allCaps, map[string]string{"STAT": "+OK many\r\n"}, fault.Transient, "protocol_error"},
		"STAT without numbers":      {allCaps, map[string]string{"STAT": "+OK\r\n"}, fault.Transient, "protocol_error"},
		"STAT negative":             {allCaps, map[string]string{"STAT": "+OK -1 5\r\n"}, fault.Transient, "protocol_error"},
		"STAT beyond measure":       {allCaps, map[string]string{"STAT": "+OK 2147483647 5\r\n"}, fault.Permanent, "maildrop_too_large"},
		"UIDL cut":                  {allCaps, map[string]string{"UIDL": "+OK\r\n1 m1\r\n" + hangUp}, fault.Transient, "closed_by_server"},
		"UIDL cut within its end":   {allCaps, map[string]string{"UIDL": "+OK\r\n1 m1\r\n." + hangUp}, fault.Transient, "closed_by_server"},
		"LIST cut":                  {allCaps, map[string]string{"LIST": "+OK\r\n" + hangUp}, fault.Transient, "closed_by_server"},
		"UIDL with too many lines":  {allCaps, map[string]string{"UIDL": "+OK\r\n" + strings.Repeat("1 a\r\n", 5000)}, fault.Transient, "reply_too_long"},
		"UIDL answered with a plus": {allCaps, map[string]string{"UIDL": "+ \r\n"}, fault.Transient, "protocol_error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &script{caps: tc.caps, messages: mails(1), answers: tc.answers}
			_, err := open(t, srv.start(t)).List(t.Context(), "INBOX", source.Since{})
			check(t, "List", err, tc.class, tc.code)
		})
	}
}

// TestUIDLRefusedWhileEmpty: some servers refuse UIDL while there is nothing to list.
func TestUIDLRefusedWhileEmpty(t *testing.T) {
	t.Parallel()
	srv := &script{caps: allCaps, answers: map[string]string{"UIDL": "-ERR no messages\r\n"}}
	l := list(t, open(t, srv.start(t)))
	if l.Messages != 0 || len(l.Refs) != 0 || !l.Complete {
		t.Errorf("List: got %+v; want no messages, and complete: STAT and LIST agree", l)
	}
}

func TestOtherFolder(t *testing.T) {
	t.Parallel()
	s := open(t, (&script{}).start(t))
	_, err := s.List(t.Context(), "Archive", source.Since{})
	check(t, "List", err, fault.Permanent, "folder_missing")
	if l, err := s.List(t.Context(), "inbox", source.Since{}); err != nil || l.Folder != "INBOX" {
		t.Errorf("List of inbox: got %+v, %v; want INBOX", l, err)
	}
}

// TestFlood: whatever is sent without an end, 256 MB of it are neither read nor held.
func TestFlood(t *testing.T) {
	t.Parallel()
	for name, srv := range map[string]*script{
		"status line": {flood: "STAT", answers: map[string]string{"STAT": "+OK "}},
		"CAPA":        {flood: "CAPA", answers: map[string]string{"CAPA": "+OK\r\n"}},
		"UIDL line":   {flood: "UIDL", answers: map[string]string{"UIDL": "+OK\r\n1 "}},
		"body line":   {flood: "RETR 1", answers: map[string]string{"RETR 1": "+OK\r\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv.messages = mails(1)
			err := everything(t.Context(), t, srv.start(t))
			if fault.ClassOf(err) != fault.Transient {
				t.Errorf("session: got %v; want a transient error", err)
			}
			srv.mu.Lock()
			defer srv.mu.Unlock()
			if srv.sent > 64<<20 { // kernel buffers included
				t.Errorf("the client took %d octets; want it to give up", srv.sent)
			}
		})
	}
}

// TestListMillion: a maildrop with a million messages is listed, at 150 octets a message or less.
func TestListMillion(t *testing.T) { // not parallel: it measures the heap
	const messages = 1_000_000
	var uidl, sizes strings.Builder
	uidl.WriteString("+OK\r\n")
	sizes.WriteString("+OK\r\n")
	for i := 1; i <= messages; i++ {
		fmt.Fprintf(&uidl, "%d %016x\r\n", i, i)
		fmt.Fprintf(&sizes, "%d %d\r\n", i, i%10_000)
	}
	srv := &script{caps: allCaps, answers: map[string]string{
		"STAT": fmt.Sprintf("+OK %d 1\r\n", messages), "UIDL": uidl.String() + ".\r\n", "LIST": sizes.String() + ".\r\n",
	}}
	s := open(t, srv.start(t))
	before := heap()
	l := list(t, s)
	after := heap()
	if len(l.Refs) != messages || !l.Complete {
		t.Errorf("List: got %d messages, complete %t; want %d, complete", len(l.Refs), l.Complete, messages)
	}
	if each := (after - before) / messages; each > 150 {
		t.Errorf("a listing costs %d octets a message; want at most 150", each)
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(l)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestListDates(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Time {
		d, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	date := at("2024-05-06T07:08:09Z")
	cases := []struct {
		header string
		want   time.Time
	}{
		{"Received: from a; Mon, 6 May 2024 09:08:09 +0200\r\nReceived: from b; Mon, 6 May 2019 09:08:09 +0200\r\nDate: Tue, 7 May 2024 00:00:00 +0000", date},
		{"Return-Path: <>\r\nreceived : from a by b\r\n\tid 1; c; Mon,\r\n 6 May 2024 07:08:09 +0000 (UTC)\r\nSubject: x", date},
		{"Subject: x\r\nDate: Mon, 6 May 2024 07:08:09 GMT", date},
		{"Received: from a; yesterday\r\nDate: Mon, 6 May 2024 07:08:09 GMT", date},
		{"Received: without a semicolon\r\nDate: 6 May 2024 07:08:09 +0000 (half a comment", date},
		{"Date: Mon, 06 May 24 07:08:09 +0000", date},
		{"Date: Mon May  6 07:08:09 2024", date},
		{"Date: today", time.Time{}},
		{"Date: Mon, 1 Jan 0001 00:00:00 +0000", time.Time{}},
		{"Subject: Received: x; Mon, 6 May 2024 07:08:09 GMT", time.Time{}},
		{"", time.Time{}},
		{strings.Repeat("X-Long: y\r\n", 10_000) + "Date: Mon, 6 May 2024 07:08:09 GMT", time.Time{}},
	}
	srv := &script{caps: allCaps}
	for i, c := range cases {
		srv.messages = append(srv.messages, stored{fmt.Sprint(i), c.header + "\r\n\r\nDate: Mon, 6 May 2002 07:08:09 GMT\r\n"})
	}
	for _, caps := range [][]string{allCaps, {"UIDL", "TOP", "USER"}, nil} {
		srv := &script{caps: caps, messages: srv.messages}
		l, err := open(t, srv.start(t)).List(t.Context(), "INBOX", source.Since{Dates: true})
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		for i, c := range cases {
			if got := l.Refs[i].InternalDate; !got.Equal(c.want) {
				t.Errorf("date of %.80q: got %s; want %s", c.header, got, c.want)
			}
		}
	}
}

func TestListDatesWithoutTOP(t *testing.T) {
	t.Parallel()
	message := "Date: Mon, 6 May 2024 07:08:09 GMT\r\n\r\n"
	for name, tc := range map[string]struct {
		caps  []string
		top   map[string]string
		asked int // commands TOP
		dated int
	}{
		"CAPA without TOP":       {[]string{"UIDL", "USER"}, nil, 0, 0},
		"no CAPA, no TOP":        {nil, map[string]string{"TOP": "-ERR unknown\r\n"}, 1, 0},
		"refused for one":        {nil, map[string]string{"TOP 2 0": "-ERR no\r\n"}, 3, 2},
		"refused for one, piped": {allCaps, map[string]string{"TOP 1 0": "-ERR no\r\n"}, 3, 2},
		"sends the body too":     {allCaps, map[string]string{"TOP": "+OK\r\n" + stuffed(message+strings.Repeat("body\r\n", 20_000))}, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &script{caps: tc.caps, answers: tc.top, messages: []stored{{"a", message}, {"b", message}, {"c", message}}}
			l, err := open(t, srv.start(t)).List(t.Context(), "INBOX", source.Since{Dates: true})
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			dated := 0
			for _, r := range l.Refs {
				if !r.InternalDate.IsZero() {
					dated++
				}
			}
			asked := len(slices.DeleteFunc(srv.commands(), func(c string) bool { return !strings.HasPrefix(c, "TOP") }))
			if dated != tc.dated || asked != tc.asked || len(l.Refs) != 3 {
				t.Errorf("List: got %d of %d messages dated after %d TOP; want %d after %d", dated, len(l.Refs), asked, tc.dated, tc.asked)
			}
		})
	}
}
