package relate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/relate"
)

func TestAccept(t *testing.T) {
	t.Parallel()
	if reason, ok := relate.Accept(&mailbox.Mailbox{Accept: mailbox.AcceptAll}); !ok || reason != "" {
		t.Errorf("all: got %q, %t, want it accepted", reason, ok)
	}
	if reason, ok := relate.Accept(&mailbox.Mailbox{Accept: mailbox.AcceptNone}); ok || reason != receipt.NotAccepted {
		t.Errorf("none: got %q, %t, want %q, false", reason, ok, receipt.NotAccepted)
	}
}

func TestCorrelations(t *testing.T) {
	t.Parallel()
	got := relate.Correlations([]string{"<p@x>", ""}, []string{"root@x", "<mid@x>", "p@x"})
	want := []activity.Correlation{
		{Method: "in_reply_to", MessageIDDigest: activity.MessageIDDigest("p@x")},
		{Method: "references", MessageIDDigest: activity.MessageIDDigest("mid@x")},
		{Method: "references", MessageIDDigest: activity.MessageIDDigest("root@x")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want - got +:\n%s", diff)
	}
	if got := relate.Correlations(nil, nil); got != nil {
		t.Errorf("no fields: got %v, want nil", got)
	}
}

func TestCorrelationsAreBounded(t *testing.T) {
	t.Parallel()
	var ids []string
	for i := range 10_000 {
		ids = append(ids, fmt.Sprintf("%d@x", i))
	}
	for name, got := range map[string][]activity.Correlation{
		"in_reply_to": relate.Correlations(ids, nil),
		"references":  relate.Correlations(nil, ids),
	} {
		if len(got) != relate.MaxCorrelations {
			t.Errorf("%s: got %d, want %d", name, len(got), relate.MaxCorrelations)
		}
	}
	if got, want := relate.Correlations(nil, ids)[0].MessageIDDigest, activity.MessageIDDigest("9999@x"); !slices.Equal(got, want) {
		t.Errorf("first of the references: got %x, want the last one, %x", got, want)
	}
}

// directory is a party directory in memory that keeps what it was asked.
type directory struct {
	entries map[string][]activity.Party
	err     error
	asked   [][]string
}

func (d *directory) ResolveParties(_ context.Context, addresses []string) (map[string][]activity.Party, error) {
	d.asked = append(d.asked, addresses)
	return d.entries, d.err
}

func TestResolve(t *testing.T) {
	t.Parallel()
	d := &directory{entries: map[string][]activity.Party{
		"ann@example.com": {{Type: "contact", ID: "7", OwnerID: "1"}, {Type: "user", ID: "12", OwnerID: "12"}},
	}}
	acts := []*activity.Activity{
		{Parties: []activity.Party{
			{Role: activity.RoleFrom, Name: "Ann", Address: "Ann@Example.com"},
			{Role: activity.RoleTo, Address: "stranger@example.net"},
			{Role: activity.RoleOwner, Address: "bob@example.com", Type: "user", ID: "3"},
			{Role: activity.RoleCc, Name: "undisclosed"},
		}},
		{Parties: []activity.Party{{Role: activity.RoleTo, Address: "ann@example.com"}}},
	}
	if err := relate.Resolve(t.Context(), d, acts); err != nil {
		t.Fatal(err)
	}
	want := []activity.Party{
		{Role: activity.RoleFrom, Name: "Ann", Address: "Ann@Example.com", Type: "user", ID: "12", OwnerID: "12", Resolved: true},
		{Role: activity.RoleTo, Address: "stranger@example.net", Resolved: true},
		{Role: activity.RoleOwner, Address: "bob@example.com", Type: "user", ID: "3"},
		{Role: activity.RoleCc, Name: "undisclosed"},
	}
	if diff := cmp.Diff(want, acts[0].Parties); diff != "" {
		t.Errorf("want - got +:\n%s", diff)
	}
	if diff := cmp.Diff([][]string{{"ann@example.com", "stranger@example.net"}}, d.asked); diff != "" {
		t.Errorf("one query for the batch; want - got +:\n%s", diff)
	}
}

func TestResolveFails(t *testing.T) {
	t.Parallel()
	d := &directory{err: errors.New("view is broken"), entries: map[string][]activity.Party{"a@b": {{Type: "user", ID: "1"}}}}
	acts := []*activity.Activity{{Parties: []activity.Party{{Role: activity.RoleFrom, Address: "a@b"}}}}
	if err := relate.Resolve(t.Context(), d, acts); !errors.Is(err, d.err) {
		t.Errorf("got %v, want %v", err, d.err)
	}
	if p := acts[0].Parties[0]; p.Resolved || p.ID != "" {
		t.Errorf("got %+v, want it unresolved", p)
	}
}

func TestResolveAsksNothingWithoutAddresses(t *testing.T) {
	t.Parallel()
	d := &directory{err: errors.New("asked")}
	if err := relate.Resolve(t.Context(), d, []*activity.Activity{{}}); err != nil || d.asked != nil {
		t.Errorf("got %v, asked %v, want no query", err, d.asked)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	entries := []activity.Party{
		{Type: "vendor", ID: "1"},
		{Type: "lead", ID: "1"},
		{Type: "account", ID: "1"},
		{Type: "contact", ID: "10"},
		{Type: "contact", ID: "9"},
		{Type: "queue", ID: "1"},
		{Type: "user", ID: "1"},
	}
	var got []string
	for len(entries) > 0 {
		e, ok := relate.Choose(entries)
		if !ok {
			t.Fatal("got none of several")
		}
		got = append(got, e.Type+e.ID)
		entries = slices.DeleteFunc(entries, func(p activity.Party) bool { return cmp.Equal(p, e) })
	}
	want := []string{"user1", "queue1", "contact9", "contact10", "account1", "lead1", "vendor1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want - got +:\n%s", diff)
	}
	if _, ok := relate.Choose(nil); ok {
		t.Error("got an entry of none")
	}
}
