package receipt_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/trace"
)

func TestUniqueIDDigestTellsApart(t *testing.T) {
	t.Parallel()
	seen := map[[16]byte]string{}
	for _, id := range []string{"", "1", "11", "1 1", "\x00", "whqtswO00WBw418f9t5JxYwZ"} {
		d := receipt.UniqueIDDigest(id)
		if other, ok := seen[d]; ok {
			t.Errorf("%q and %q have the same digest", id, other)
		}
		seen[d] = id
	}
}

func TestUnrecordableKeepsOctetsAndIdentity(t *testing.T) {
	t.Parallel()
	r := receipt.Receipt{
		ID: 4, Ref: source.Ref{UIDValidity: 1, UID: 2, Octets: 3}, SeenAt: time.Unix(1, 0), Raw: source.RawOf([]byte("abc")),
		LoadID: 9, Tries: 2, Undecided: true, Dispose: true, DisposeIn: time.Hour,
		Items: []receipt.Item{{Ordinal: 1, Plan: receipt.Recorded, Activity: &activity.Activity{}}},
		Trace: trace.Trace{{Stage: trace.Read, Code: "read"}},
	}
	u := r.Unrecordable()
	if u.Raw != r.Raw || u.LoadID != 9 || u.ID != 4 || !cmp.Equal(u.Ref, r.Ref) || !u.SeenAt.Equal(r.SeenAt) {
		t.Errorf("got %+v, want the octets and the identity of %+v", u, r)
	}
	if u.Plan != receipt.Quarantined || u.Reason != receipt.Unrecordable || u.Undecided || u.Items != nil {
		t.Errorf("got %+v, want it quarantined without items", u)
	}
	if len(u.Trace) != 1 || !trace.Known(u.Trace[0].Code) {
		t.Errorf("got trace %v, want one known step", u.Trace)
	}
}

func TestOverall(t *testing.T) {
	t.Parallel()
	q, r := receipt.ItemResult{Outcome: receipt.Quarantined, Reason: receipt.Untrusted}, receipt.ItemResult{Outcome: receipt.Recorded}
	d, i := receipt.ItemResult{Outcome: receipt.Duplicate}, receipt.ItemResult{Outcome: receipt.Ignored, Reason: receipt.Deleted}
	for _, c := range []struct {
		items  []receipt.ItemResult
		want   receipt.Outcome
		reason receipt.Reason
	}{
		{nil, "", ""},
		{[]receipt.ItemResult{i, d, r, q}, receipt.Quarantined, receipt.Untrusted},
		{[]receipt.ItemResult{i, d, r}, receipt.Recorded, ""},
		{[]receipt.ItemResult{i, d}, receipt.Duplicate, ""},
		{[]receipt.ItemResult{i}, receipt.Ignored, receipt.Deleted},
	} {
		if got, reason := receipt.Overall(c.items); got != c.want || reason != c.reason {
			t.Errorf("%v: got %q, %q, want %q, %q", c.items, got, reason, c.want, c.reason)
		}
	}
}

func TestWhatIsNotWholeStaysSoWhenItCannotBeRecorded(t *testing.T) {
	for _, r := range []receipt.Receipt{
		{Plan: receipt.Quarantined, Reason: receipt.TooLarge, Raw: source.RawOf([]byte("Subject: x")), Dispose: true},
		{Plan: receipt.Ignored, Reason: receipt.Vanished},
	} {
		if u := r.Unrecordable(); u.Reason != r.Reason || u.Dispose {
			t.Errorf("%s: got %s, to be disposed of %v", r.Reason, u.Reason, u.Dispose)
		}
	}
}
