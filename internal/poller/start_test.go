package poller_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/poller"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// resume returns the cursor as it stands after what was written.
func (l *ledger) resume() mailbox.Cursor {
	c := l.cursor
	for _, moved := range l.cursors() {
		c.UIDValidity, c.UIDNext, c.Messages, c.Listed = moved.UIDValidity, moved.UIDNext, moved.Messages, true
		if moved.StartUIDNext != 0 {
			c.StartUIDValidity, c.StartUIDNext = moved.UIDValidity, moved.StartUIDNext
		}
	}
	return c
}

// from returns the refs from a UID on, as a server lists them.
func from(refs []source.Ref, uid uint32) []source.Ref {
	return slices.DeleteFunc(slices.Clone(refs), func(r source.Ref) bool { return r.UID < uid })
}

// A first listing that is interrupted, by whatever, must not make old mail new: UIDs are not in order of dates.
func TestAnInterruptedFirstListingKeepsItsStartPoint(t *testing.T) {
	start := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	refs := imapRefs(7, 1, 2, 4, 5)
	for i, age := range []time.Duration{time.Hour, -9000 * time.Hour, -9000 * time.Hour, 2 * time.Hour} {
		refs[i].InternalDate = start.Add(age)
	}
	for name, cursor := range map[string]mailbox.Cursor{
		"first listing":         {Folder: "INBOX", StartAt: start},
		"UIDVALIDITY changed":   {Folder: "INBOX", StartAt: start, UIDValidity: 6, UIDNext: 50, Listed: true, StartUIDValidity: 6, StartUIDNext: 40},
		"UIDNEXT went back":     {Folder: "INBOX", StartAt: start, UIDValidity: 7, UIDNext: 50, Listed: true, StartUIDValidity: 7, StartUIDNext: 2},
		"a server without it":   {Folder: "INBOX", StartAt: start},
		"and nothing got ready": {Folder: "INBOX", StartAt: start},
	} {
		s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 6, Messages: 4, Refs: refs, Reset: cursor.UIDValidity != 0}}
		if name == "a server without it" {
			s.listing.UIDNext = 0
		}
		l := &ledger{cursor: cursor}
		s.behave = map[uint32]string{5: "spool"}
		want := []uint32{1}
		if name == "and nothing got ready" {
			s.behave[1], want = "spool", nil
		}
		p := newPoller(s, l, func(o *poller.Options) { o.BatchSize = 1 })
		if _, err := poll(t, p, box(mailbox.IMAP)); err == nil {
			t.Errorf("%s: no error", name)
		}
		if got := uids(l.arrivals()); !slices.Equal(got, want) {
			t.Errorf("%s: first took %v, want %v", name, got, want)
		}
		l.cursor = l.resume()
		if c := l.cursor; c.StartUIDValidity != 7 || c.StartUIDNext != 6 {
			t.Errorf("%s: the start point is %d/%d, want 7/6 as the listing said", name, c.StartUIDValidity, c.StartUIDNext)
		}
		// Afterwards new mail has come, dated as of long ago: it was not there at the first listing.
		late := append(slices.Clone(refs), imapRefs(7, 8)...)
		late[4].InternalDate = start.Add(-9000 * time.Hour)
		l.batches, s.behave = nil, nil
		s.listing = source.Listing{UIDValidity: 7, UIDNext: 9, Messages: 5, Refs: from(late, l.cursor.UIDNext)}
		if _, err := poll(t, p, box(mailbox.IMAP)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		rest := []uint32{5, 8}
		if want == nil {
			rest = []uint32{1, 5, 8}
		}
		if got := uids(l.arrivals()); !slices.Equal(got, rest) {
			t.Errorf("%s: then took %v, want %v", name, got, rest)
		}
		missed := int64(0)
		for _, c := range l.cursors() {
			missed += c.Missed
		}
		if missed != 2 { // 6 and 7; 3 was gone before the first listing
			t.Errorf("%s: %d were missed, want 2", name, missed)
		}
	}
}

// A mail server that was restored from a backup gives out UIDs again. What has them now is read, and nothing is done to it
// in the name of what had them.
func TestUIDNextThatWentBackBeginsANewEpoch(t *testing.T) {
	start := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	refs := imapRefs(7, 1, 2, 3)
	refs[0].InternalDate = start.Add(-time.Hour)
	s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 90, Messages: 3, Reset: true, Refs: refs}}
	l := &ledger{cursor: mailbox.Cursor{FolderID: 4, Folder: "INBOX", UIDValidity: 7, UIDNext: 100, StartAt: start, Listed: true}}
	m := box(mailbox.IMAP)
	m.Disposition = mailbox.Delete
	if _, err := poll(t, newPoller(s, l, nil), m); err != nil {
		t.Fatal(err)
	}
	if l.epochs != 1 || len(l.voided) > 0 {
		t.Errorf("got %d epochs, dispositions voided for %v, want one epoch, which voids them", l.epochs, l.voided)
	}
	if got := uids(l.arrivals()); !slices.Equal(got, []uint32{2, 3}) {
		t.Errorf("took %v, want what came since the start", got)
	}
	for _, b := range l.batches {
		if b.FolderID != 1004 {
			t.Errorf("written to folder %d, want 1004, that of the new epoch", b.FolderID)
		}
	}
	if diff := cmp.Diff([]receipt.Cursor{{UIDValidity: 7, UIDNext: 90, Messages: 3, StartUIDNext: 90}}, l.cursors()); diff != "" {
		t.Errorf("cursor: %s", diff)
	}
	if !slices.Equal(l.dueOf, []int64{1004}) {
		t.Errorf("dispositions of folders %v were asked for, want those of the new epoch alone", l.dueOf)
	}
}

func TestAMaildropsFirstCompleteListingIsItsBaseline(t *testing.T) {
	enabled := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	cursor := mailbox.Cursor{Folder: "INBOX", StartAt: enabled}
	listing := drop("a", "b")
	listing.Refs[0].InternalDate, listing.Refs[1].InternalDate = enabled.Add(-time.Hour), enabled.Add(time.Hour)
	for _, tt := range []struct {
		name     string
		kind     mailbox.StartKind
		change   func(*mailbox.Cursor)
		dates    bool
		baseline []string
	}{
		{"now", mailbox.StartNow, func(*mailbox.Cursor) {}, false, []string{"a", "b"}},
		{"date", mailbox.StartDate, func(*mailbox.Cursor) {}, true, []string{"a"}},
		{"all", mailbox.StartAll, func(c *mailbox.Cursor) { c.StartAt = time.Time{} }, false, nil},
		{"now, after another account", mailbox.StartNow, func(c *mailbox.Cursor) { c.Moved = true }, true, []string{"a"}},
		{"now, after IMAP", mailbox.StartNow, func(c *mailbox.Cursor) { c.UIDValidity, c.UIDNext, c.Listed = 7, 9, true }, true, []string{"a"}},
	} {
		s := &server{listing: listing}
		l := &ledger{cursor: cursor}
		tt.change(&l.cursor)
		m := box(mailbox.POP3)
		m.StartKind = tt.kind
		if _, err := poll(t, newPoller(s, l, nil), m); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		var baseline []string
		for _, a := range l.arrivals() {
			if a.Baseline {
				baseline = append(baseline, a.Ref.UniqueID)
			}
		}
		if !slices.Equal(baseline, tt.baseline) || len(l.arrivals()) != 2 {
			t.Errorf("%s: got baseline %v of %d, want %v of 2", tt.name, baseline, len(l.arrivals()), tt.baseline)
		}
		if s.since[0].Dates != tt.dates {
			t.Errorf("%s: asked for dates %t, want %t", tt.name, s.since[0].Dates, tt.dates)
		}
		if c := l.cursors(); len(c) != 1 || c[0].Messages != 2 {
			t.Errorf("%s: got cursors %+v, want one", tt.name, c)
		}
		if last := l.batches[len(l.batches)-1]; last.Cursor == nil || len(last.Arrivals) == 0 {
			t.Errorf("%s: the cursor was not written with the last messages: what comes between would be older", tt.name)
		}
	}
}

// What an incomplete listing leaves out would be taken for new mail by the next.
func TestAnIncompleteFirstListingIsNoBaseline(t *testing.T) {
	s := &server{listing: drop("a", "b")}
	s.listing.Complete = false
	l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", StartAt: time.Now()}}
	m := box(mailbox.POP3)
	m.StartKind = mailbox.StartNow
	_, err := poll(t, newPoller(s, l, nil), m)
	if class, code, _, _ := fault.Describe(err); class != fault.Transient || code != "listing_incomplete" {
		t.Errorf("got %v, want listing_incomplete", err)
	}
	if len(l.batches) > 0 {
		t.Errorf("wrote %+v, want nothing", l.batches)
	}
}

func TestAnUnchangedMaildropWritesNothing(t *testing.T) {
	s := &server{listing: drop("a")}
	l := &ledger{
		cursor: mailbox.Cursor{Folder: "INBOX", Listed: true, Messages: 1},
		open:   []receipt.OpenRef{known(11, "a", 100, 0, 0)},
	}
	for _, want := range []int{0, 1} {
		if _, err := poll(t, newPoller(s, l, nil), box(mailbox.POP3)); err != nil {
			t.Fatal(err)
		}
		if len(l.batches) != want {
			t.Errorf("%d messages at the last listing: wrote %d times, want %d", l.cursor.Messages, len(l.batches), want)
		}
		l.cursor.Messages = 2
	}
}

// Octets of ours that are damaged stop neither new mail nor other messages that wait.
func TestDamagedOctetsOfOneMessageStopNoOther(t *testing.T) {
	for _, code := range []string{"raw_missing", "raw_corrupt"} {
		s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 2, Messages: 1, Refs: imapRefs(7, 1)}}
		l := &ledger{
			cursor: mailbox.Cursor{FolderID: 1, Folder: "INBOX", UIDValidity: 7, UIDNext: 1, Listed: true},
			stored: []receipt.Stored{
				{ReceiptID: 3, FolderID: 1, RawID: 1, RawOctets: 10},
				{ReceiptID: 4, FolderID: 1, RawID: 2, RawOctets: 10},
				{ReceiptID: 5, FolderID: 9, RawID: 3, RawOctets: 10}, // of a folder that is no longer watched
			},
			damaged: map[int64]error{2: fault.New(fault.Permanent, code, "", errors.New("damaged"))},
		}
		if _, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP)); err != nil {
			t.Fatalf("%s: %v", code, err)
		}
		type done struct{ folder, receipt int64 }
		var got []done
		for _, b := range l.batches {
			for _, a := range b.Arrivals {
				got = append(got, done{b.FolderID, a.ReceiptID})
			}
		}
		if want := []done{{1, 3}, {9, 5}, {1, 0}}; !slices.Equal(got, want) {
			t.Errorf("%s: decided %v, want %v", code, got, want)
		}
		if !slices.Equal(l.postponed, []int64{4}) {
			t.Errorf("%s: postponed %v, want 4", code, l.postponed)
		}
	}
	l := &ledger{
		stored:  []receipt.Stored{{ReceiptID: 4, RawID: 2, RawOctets: 10}},
		damaged: map[int64]error{2: fault.New(fault.Transient, "database_unavailable", "", errors.New("down"))},
	}
	s := &server{}
	if _, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP)); err == nil || s.opened > 0 || len(l.postponed) > 0 {
		t.Errorf("a database that is down: got %v after %d log-ins, postponed %v, want that the poll ends", err, s.opened, l.postponed)
	}
}
