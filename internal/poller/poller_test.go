package poller_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pipeline"
	"github.com/postroom/postroom/internal/poller"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

func uids(arrivals []pipeline.Arrival) []uint32 {
	out := make([]uint32, len(arrivals))
	for i, a := range arrivals {
		out[i] = a.Ref.UID
	}
	return out
}

func TestFirstListingTakesWhatCameSinceTheStart(t *testing.T) {
	start := time.Date(2026, 5, 1, 12, 0, 0, 500_000_000, time.UTC)
	refs := imapRefs(7, 3, 5, 8, 9)
	refs[0].InternalDate = start.Add(-time.Hour)
	refs[1].InternalDate = start.Add(-time.Second)
	refs[2].InternalDate = start.Truncate(time.Second) // the second of the start counts
	s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 12, Messages: 4, Refs: refs, Reset: true}}
	l := &ledger{cursor: mailbox.Cursor{FolderID: 4, Folder: "INBOX", StartAt: start}}
	out, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := uids(l.arrivals()), []uint32{8, 9}; !slices.Equal(got, want) {
		t.Errorf("took UIDs %v, want %v: 9 has no date and counts as new", got, want)
	}
	want := []receipt.Cursor{{UIDValidity: 7, UIDNext: 12, Messages: 4, StartUIDNext: 12}}
	if diff := cmp.Diff(want, l.cursors()); diff != "" {
		t.Errorf("cursor: %s", diff)
	}
	if out.Listed != 2 || out.Results[receipt.Recorded] != 2 {
		t.Errorf("outcome: %+v", out)
	}
	if len(l.voided) > 0 {
		t.Error("the first listing is no change of UIDVALIDITY")
	}
}

func TestCursorMovesWithEachBatchAndCountsWhatWasMissed(t *testing.T) {
	s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 30, Messages: 9, Refs: imapRefs(7, 10, 12, 13, 20, 25)}}
	l := &ledger{cursor: mailbox.Cursor{FolderID: 4, Folder: "INBOX", UIDValidity: 7, UIDNext: 10, Listed: true}}
	_, err := poll(t, newPoller(s, l, func(o *poller.Options) { o.BatchSize = 2 }), box(mailbox.IMAP))
	if err != nil {
		t.Fatal(err)
	}
	want := []receipt.Cursor{
		{UIDValidity: 7, UIDNext: 13, Messages: 9, Missed: 1}, // 11
		{UIDValidity: 7, UIDNext: 21, Messages: 9, Missed: 6}, // 14 to 19
		{UIDValidity: 7, UIDNext: 30, Messages: 9, Missed: 8}, // 21 to 24, 26 to 29
	}
	if diff := cmp.Diff(want, l.cursors()); diff != "" {
		t.Errorf("cursor: %s", diff)
	}
	if s.since[0] != (source.Since{UIDValidity: 7, UID: 10}) {
		t.Errorf("listed since %+v", s.since[0])
	}
}

func TestNothingNewWritesNothing(t *testing.T) {
	s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 10, Messages: 3}}
	l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", UIDValidity: 7, UIDNext: 10, Listed: true, Messages: 3}}
	if _, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP)); err != nil {
		t.Fatal(err)
	}
	if len(l.batches) != 0 {
		t.Errorf("wrote %+v", l.batches)
	}
}

func TestAMissingFolderKeepsNoOther(t *testing.T) {
	s := &server{missing: "Nowhere", listing: source.Listing{UIDValidity: 7, UIDNext: 2, Messages: 1, Refs: imapRefs(7, 1)}}
	nowhere := mailbox.Cursor{Folder: "Nowhere", FolderID: 2}
	l := &ledger{cursor: nowhere, more: []mailbox.Cursor{{Folder: "INBOX", FolderID: 1}}}
	out, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP))
	if _, code, _, _ := fault.Describe(err); code != "folder_missing" {
		t.Errorf("got error %v, want folder_missing", err)
	}
	if !out.Partial || out.Listed != 1 || len(l.cursors()) != 1 {
		t.Errorf("got partial %t, %d listed, cursors %+v, want that the other folder was read", out.Partial, out.Listed, l.cursors())
	}
	if out, err = poll(t, newPoller(s, &ledger{cursor: nowhere}, nil), box(mailbox.IMAP)); err == nil || out.Partial {
		t.Errorf("alone: got error %v and partial %t, want an error and that nothing was read", err, out.Partial)
	}
}

func TestAnEmptyFolderGetsItsStartPoint(t *testing.T) {
	s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 0}} // and the server does not say UIDNEXT
	l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX"}}
	if _, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]receipt.Cursor{{UIDValidity: 7, UIDNext: 1, StartUIDNext: 1}}, l.cursors()); diff != "" {
		t.Errorf("cursor: %s", diff)
	}
}

func TestChangedUIDValidityReadsTheFolderAgain(t *testing.T) {
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	refs := imapRefs(8, 1, 2)
	refs[0].InternalDate, refs[1].InternalDate = start.Add(-time.Hour), start.Add(time.Hour)
	s := &server{listing: source.Listing{UIDValidity: 8, UIDNext: 3, Messages: 2, Refs: refs, Reset: true}}
	l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", UIDValidity: 7, UIDNext: 100, StartAt: start, Listed: true}}
	if _, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP)); err != nil {
		t.Fatal(err)
	}
	if got := uids(l.arrivals()); !slices.Equal(got, []uint32{2}) {
		t.Errorf("took %v, want what came after the start", got)
	}
	if diff := cmp.Diff([]receipt.Cursor{{UIDValidity: 8, UIDNext: 3, Messages: 2, StartUIDNext: 3}}, l.cursors()); diff != "" {
		t.Errorf("cursor: %s", diff)
	}
	if !slices.Equal(l.voided, []uint32{8}) {
		t.Errorf("dispositions of another UIDVALIDITY than %v were voided", l.voided)
	}
}

func TestOneBadMessageCostsItself(t *testing.T) {
	s := &server{
		listing: source.Listing{UIDValidity: 7, UIDNext: 8, Refs: imapRefs(7, 1, 2, 3, 4, 5, 6, 7)},
		behave:  map[uint32]string{2: "vanished", 3: "large", 4: "poison", 5: "breaks"},
	}
	l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", UIDValidity: 7, UIDNext: 1, Listed: true}}
	if _, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP)); err != nil {
		t.Fatal(err)
	}
	type got struct {
		UID    uint32
		Reason receipt.Reason
		Raw    bool
		Header bool
	}
	var all []got
	for _, a := range l.arrivals() {
		all = append(all, got{a.Ref.UID, a.Reason, a.Raw != nil, a.HeaderOnly})
	}
	want := []got{
		{1, "", true, false},
		{2, receipt.Vanished, false, false},
		{3, receipt.TooLarge, true, true},
		{4, receipt.Undeliverable, false, false},
		{5, receipt.Undeliverable, false, false},
		{6, "", true, false},
		{7, "", true, false},
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("arrivals: %s", diff)
	}
	alone := 0
	for _, refs := range s.fetched {
		if len(refs) == 1 && refs[0].UID == 5 {
			alone++
		}
	}
	if alone != 3 {
		t.Errorf("the message that breaks the session was tried %d times alone, want 3", alone)
	}
	if c := l.cursors(); len(c) != 1 || c[0].UIDNext != 8 {
		t.Errorf("cursor: %+v", c)
	}
	for i, raw := range l.raws {
		if raw.Octets() != 0 {
			t.Errorf("octets of message %d are still held", i)
		}
	}
}

func TestAServerThatHandsOutNothingIsBlamedItself(t *testing.T) {
	s := &server{
		listing: source.Listing{UIDValidity: 7, UIDNext: 4, Refs: imapRefs(7, 1, 2, 3)},
		behave:  map[uint32]string{1: "breaks", 2: "breaks", 3: "breaks"},
	}
	l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", UIDValidity: 7, UIDNext: 1, Listed: true}}
	_, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP))
	if _, code, _, _ := fault.Describe(err); code != "closed_by_server" {
		t.Errorf("got %v", err)
	}
	if len(l.batches) != 0 {
		t.Errorf("wrote %+v", l.batches)
	}
	if len(s.fetched) != 4 {
		t.Errorf("%d fetches, want one for the batch and one for each message", len(s.fetched))
	}
}

func TestADiskOfOursThatIsFullIsNoMessagesFault(t *testing.T) {
	s := &server{
		listing: source.Listing{UIDValidity: 7, UIDNext: 3, Refs: imapRefs(7, 1, 2)},
		behave:  map[uint32]string{2: "spool"},
	}
	l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", UIDValidity: 7, UIDNext: 1, Listed: true}}
	_, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP))
	if _, code, _, _ := fault.Describe(err); code != "spool" || len(s.fetched) != 1 {
		t.Errorf("got %v after %d fetches, want spool after one", err, len(s.fetched))
	}
	if got := uids(l.arrivals()); !slices.Equal(got, []uint32{1}) || len(l.cursors()) != 1 || l.cursors()[0].UIDNext != 2 {
		t.Errorf("wrote %v with cursors %+v, want what had come before", got, l.cursors())
	}
}

func TestABatchThatCannotBeWrittenEndsThePoll(t *testing.T) {
	s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 3, Refs: imapRefs(7, 1, 2)}}
	l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", UIDValidity: 7, UIDNext: 1, Listed: true}, writeErr: errors.New("database is away")}
	m := box(mailbox.IMAP)
	m.Disposition = mailbox.Delete
	l.due = []receipt.Due{{ReceiptID: 1, Outcome: receipt.Recorded}}
	if _, err := poll(t, newPoller(s, l, nil), m); err == nil {
		t.Error("no error")
	}
	if len(s.orders) > 0 {
		t.Error("something was disposed of")
	}
	if s.open {
		t.Error("the session is still open")
	}
}

func TestTimeRunsOutBetweenBatches(t *testing.T) {
	s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 6, Refs: imapRefs(7, 1, 2, 3, 4, 5)}}
	l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", UIDValidity: 7, UIDNext: 1, Listed: true}}
	m := box(mailbox.IMAP)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	l.onWrite = func() { // the database is slow: four fifths of the poll's time go by
		end, _ := ctx.Deadline()
		timer := time.NewTimer(time.Until(end.Add(-100 * time.Millisecond)))
		defer timer.Stop()
		<-timer.C
	}
	out, err := newPoller(s, l, func(o *poller.Options) { o.BatchSize = 2 }).Poll(ctx, mailbox.Lease{}, m, mailbox.NewRegistry(nil))
	if err != nil {
		t.Fatal(err)
	}
	if !out.More || len(l.arrivals()) != 2 {
		t.Errorf("more: %v, took %d", out.More, len(l.arrivals()))
	}
	if c := l.cursors(); len(c) != 1 || c[0].UIDNext != 3 {
		t.Errorf("cursor: %+v, want it behind what was taken", c)
	}
}

func TestStoredMessagesAreDecidedAgainBeforeTheServerIsAsked(t *testing.T) {
	s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 1}}
	l := &ledger{
		cursor: mailbox.Cursor{FolderID: 4, Folder: "INBOX", UIDValidity: 7, UIDNext: 1, Listed: true},
		stored: []receipt.Stored{{ReceiptID: 9, RawID: 3, RawOctets: 12, Tries: 2, Ref: source.Ref{UID: 1, UIDValidity: 7}}},
	}
	if _, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP)); err != nil {
		t.Fatal(err)
	}
	if a := l.arrivals(); len(a) != 1 || a[0].ReceiptID != 9 || a[0].Tries != 2 || len(s.fetched) != 0 {
		t.Errorf("got %+v, %d fetches", a, len(s.fetched))
	}
}
