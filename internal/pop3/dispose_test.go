package pop3_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

func deleteAll(refs []source.Ref) []source.Order {
	orders := make([]source.Order, len(refs))
	for i, ref := range refs {
		orders[i] = source.Order{ReceiptID: int64(100 + i), Ref: ref, Action: source.Delete}
	}
	return orders
}

// outcomes is what became of orders: the Done, or the code of the error.
func outcomes(tb testing.TB, orders []source.Order, disposed []source.Disposed) []string {
	tb.Helper()
	if len(disposed) != len(orders) {
		tb.Fatalf("Dispose: got %d answers; want %d", len(disposed), len(orders))
	}
	out := make([]string, len(disposed))
	for i, d := range disposed {
		if d.ReceiptID != orders[i].ReceiptID {
			tb.Errorf("answer %d is about receipt %d; want %d", i, d.ReceiptID, orders[i].ReceiptID)
		}
		if out[i] = string(d.Done); d.Err != nil {
			_, code, _, _ := fault.Describe(d.Err)
			out[i] += "!" + code
		}
	}
	return out
}

func TestDispose(t *testing.T) {
	t.Parallel()
	srv := &script{caps: allCaps, messages: mails(40)}
	p := srv.start(t)
	refs := list(t, open(t, p)).Refs
	s := open(t, p) // which lists for itself
	orders := deleteAll([]source.Ref{refs[39], refs[0], refs[4], refs[0]})
	disposed, err := s.Dispose(t.Context(), orders)
	if err != nil {
		t.Fatalf("Dispose: %v", err)
	}
	if got, want := outcomes(t, orders, disposed), []string{"done", "done", "done", "done"}; !slices.Equal(got, want) {
		t.Errorf("Dispose: got %q; want %q", got, want)
	}
	if got, want := slices.Sorted(maps.Keys(srv.gone())), []int{1, 5, 40}; !slices.Equal(got, want) {
		t.Errorf("deleted on the server: got %v; want %v", got, want)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("Close after Dispose: %v", err)
	}
	if _, err := s.Dispose(t.Context(), orders); err == nil {
		t.Error("second Dispose: got no error")
	}
}

func TestDisposeByIdentity(t *testing.T) {
	t.Parallel()
	ref := func(id string, octets int64) source.Ref {
		return source.Ref{Folder: "INBOX", UniqueID: id, Octets: octets, Number: 1}
	}
	messages := []stored{{"a", "12345"}, {"twin", "1"}, {"twin", "1"}, {"cousin", "1"}, {"cousin", "22"}, {"b", "12345"}}
	for name, tc := range map[string]struct {
		order   source.Order
		answers map[string]string
		want    string
		gone    []int
	}{
		"number of another session":       {order: source.Order{Ref: ref("b", 5), Action: source.Delete}, want: "done", gone: []int{6}},
		"another size":                    {order: source.Order{Ref: ref("b", 6), Action: source.Delete}, want: "gone"},
		"not there":                       {order: source.Order{Ref: ref("c", 5), Action: source.Delete}, want: "gone"},
		"twins":                           {order: source.Order{Ref: ref("twin", 1), Action: source.Delete}, want: "!unique_id_ambiguous"},
		"same unique-id, another size":    {order: source.Order{Ref: ref("cousin", 2), Action: source.Delete}, want: "!unique_id_ambiguous"},
		"move":                            {order: source.Order{Ref: ref("a", 5), Action: source.Move, Target: "x"}, want: "!action_unsupported"},
		"DELE refused":                    {order: source.Order{Ref: ref("a", 5), Action: source.Delete}, answers: map[string]string{"DELE": "-ERR no\r\n"}, want: "!dele_refused"},
		"a listing that is not complete":  {order: source.Order{Ref: ref("a", 5), Action: source.Delete}, answers: map[string]string{"STAT": "+OK 7 1\r\n"}, want: "!listing_incomplete"},
		"gone, in an incomplete listing":  {order: source.Order{Ref: ref("c", 5), Action: source.Delete}, answers: map[string]string{"STAT": "+OK 7 1\r\n"}, want: "!listing_incomplete"},
		"a listing with a malformed line": {order: source.Order{Ref: ref("a", 5), Action: source.Delete}, answers: map[string]string{"UIDL": "+OK\r\n1 a\r\n2\r\n3 x\r\n4 y\r\n5 z\r\n6 b\r\n.\r\n"}, want: "!listing_incomplete"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &script{caps: allCaps, messages: messages, answers: tc.answers}
			orders := []source.Order{tc.order}
			disposed, err := open(t, srv.start(t)).Dispose(t.Context(), orders)
			if err != nil {
				t.Fatalf("Dispose: %v", err)
			}
			if got := outcomes(t, orders, disposed)[0]; got != tc.want {
				t.Errorf("Dispose: got %q (%v); want %q", got, disposed[0].Err, tc.want)
			}
			if got := slices.Sorted(maps.Keys(srv.gone())); !slices.Equal(got, tc.gone) {
				t.Errorf("deleted on the server: got %v; want %v", got, tc.gone)
			}
		})
	}
}

// TestRenumbered: the message that has our message's number in the next session is another one, and is left alone.
func TestRenumbered(t *testing.T) {
	t.Parallel()
	before := &script{caps: allCaps, messages: []stored{{"a", "12345"}, {"b", "12345"}, {"c", "12345"}}}
	refs := list(t, open(t, before.start(t))).Refs
	after := &script{caps: allCaps, messages: []stored{{"b", "12345"}, {"c", "12345"}, {"d", "12345"}}}
	p := after.start(t)
	s := open(t, p)
	list(t, s)
	got, err := fetch(t, s, refs, maxTotal)
	if err != nil || got["a"] != "vanished" || got["b"] != "12345\r\n" || got["c"] != "12345\r\n" || len(got) != 3 {
		t.Errorf("Fetch: got %q, %v; want a vanished, b and c", got, err)
	}
	orders := deleteAll(refs[:2])
	disposed, err := s.Dispose(t.Context(), orders)
	if err != nil {
		t.Fatalf("Dispose: %v", err)
	}
	if got, want := outcomes(t, orders, disposed), []string{"gone", "done"}; !slices.Equal(got, want) {
		t.Errorf("Dispose: got %q; want %q", got, want)
	}
	if got, want := slices.Sorted(maps.Keys(after.gone())), []int{1}; !slices.Equal(got, want) {
		t.Errorf("deleted on the server: got %v; want %v", got, want)
	}
}

// TestOneRefusedDELE: others are deleted all the same.
func TestOneRefusedDELE(t *testing.T) {
	t.Parallel()
	srv := &script{caps: allCaps, messages: mails(3), answers: map[string]string{"DELE 2": "-ERR [SYS/TEMP] not now\r\n"}}
	s := open(t, srv.start(t))
	orders := deleteAll(list(t, s).Refs)
	disposed, err := s.Dispose(t.Context(), orders)
	if err != nil {
		t.Fatalf("Dispose: %v", err)
	}
	if got, want := outcomes(t, orders, disposed), []string{"done", "!unavailable", "done"}; !slices.Equal(got, want) {
		t.Errorf("Dispose: got %q; want %q", got, want)
	}
	if got, want := slices.Sorted(maps.Keys(srv.gone())), []int{1, 3}; !slices.Equal(got, want) {
		t.Errorf("deleted on the server: got %v; want %v", got, want)
	}
}

// TestNotDeletedWithoutQUIT: nothing counts as deleted unless QUIT was answered with +OK.
func TestNotDeletedWithoutQUIT(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]map[string]string{
		"QUIT refused":               {"QUIT": "-ERR some deleted messages not removed\r\n"},
		"QUIT [SYS/TEMP]":            {"QUIT": "-ERR [SYS/TEMP] disk full\r\n"},
		"hang-up before its answer":  {"QUIT": hangUp},
		"hang-up within its answer":  {"QUIT": "+OK by" + hangUp},
		"an empty answer to QUIT":    {"QUIT": "\r\n"},
		"nonsense in answer to QUIT": {"QUIT": "bye\r\n"},
		"hang-up at DELE":            {"DELE 2": hangUp},
		"nonsense in answer to DELE": {"DELE 2": "\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &script{caps: allCaps, messages: mails(3), answers: answers}
			s := open(t, srv.start(t))
			orders := deleteAll(list(t, s).Refs)
			disposed, err := s.Dispose(t.Context(), orders)
			if fault.ClassOf(err) != fault.Transient {
				t.Errorf("Dispose: got %v; want a transient error", err)
			}
			if got, want := outcomes(t, orders, disposed), []string{"", "", ""}; !slices.Equal(got, want) {
				t.Errorf("Dispose: got %q; want none done", got)
			}
			if len(srv.gone()) > 0 {
				t.Errorf("deleted on the server: got %v; want nothing", srv.gone())
			}
		})
	}
}

// TestNothingToDispose: no order that can be carried out, and the session ends in good order without a DELE.
func TestNothingToDispose(t *testing.T) {
	t.Parallel()
	srv := &script{caps: allCaps, messages: mails(1)}
	s := open(t, srv.start(t))
	if disposed, err := s.Dispose(t.Context(), nil); err != nil || len(disposed) != 0 {
		t.Errorf("Dispose: got %v, %v; want nothing", disposed, err)
	}
	if got := strings.Join(srv.commands(), " "); strings.Contains(got, "DELE") || !strings.HasSuffix(got, "QUIT") {
		t.Errorf("commands: got %q; want QUIT and no DELE", got)
	}
}
