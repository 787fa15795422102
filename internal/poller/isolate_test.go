package poller_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/poller"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// watched is a cursor of a folder that was listed up to a UID.
func watched(next uint32) mailbox.Cursor {
	return mailbox.Cursor{FolderID: 1, Folder: "INBOX", UIDValidity: 7, UIDNext: next, Listed: true, StartUIDValidity: 7, StartUIDNext: 1}
}

// became says what each message was written as: "1" its octets are there, "2:undeliverable" why not.
func (l *ledger) became() []string {
	var out []string
	for _, a := range l.arrivals() {
		text := fmt.Sprint(max(a.Ref.UID, uint32(a.Ref.Number)))
		if a.Reason != "" {
			text += ":" + string(a.Reason)
		}
		out = append(out, text)
	}
	return out
}

func expectBecame(t *testing.T, what string, l *ledger, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, l.became()); diff != "" {
		t.Errorf("%s: written (-want +got):\n%s", what, diff)
	}
}

// A message that breaks the session and is too large to share a batch must not stop the mailbox for ever, and must not
// be blamed while the server hands out nothing.
func TestAMessageThatIsAloneInItsBatch(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name   string
		octets map[uint32]int64
		listed []uint32
		behave map[uint32]string
		next   uint32
		want   []string
		code   string
	}{
		{
			"the next one is a probe",
			map[uint32]int64{1: 5 * mib},
			[]uint32{1, 2, 3},
			map[uint32]string{1: "breaks"},
			1,
			[]string{"1:undeliverable", "2", "3"},
			"",
		},
		{
			"so is one from before",
			map[uint32]int64{9: 5 * mib},
			[]uint32{4, 9},
			map[uint32]string{9: "breaks"},
			9,
			[]string{"9:undeliverable"},
			"",
		},
		{
			"which proves nothing if it breaks too",
			nil,
			[]uint32{4, 9},
			map[uint32]string{4: "breaks", 9: "breaks"},
			9,
			nil,
			"closed_by_server",
		},
		{
			"and one handed out before",
			map[uint32]int64{1: 5 * mib, 2: 5 * mib},
			[]uint32{1, 2},
			map[uint32]string{2: "breaks"},
			1,
			[]string{"1", "2:undeliverable"},
			"",
		},
		{"there is no other", nil, []uint32{1}, map[uint32]string{1: "breaks"}, 1, []string{"1:undeliverable"}, ""},
		{
			"a probe that breaks too is no proof, another is",
			map[uint32]int64{1: 5 * mib, 3: 6 * mib},
			[]uint32{1, 2, 3},
			map[uint32]string{1: "breaks", 2: "breaks"},
			1,
			[]string{"1:undeliverable", "2:undeliverable", "3"},
			"",
		},
		{
			"nor is one that has vanished",
			map[uint32]int64{1: 5 * mib, 3: 6 * mib},
			[]uint32{1, 2, 3},
			map[uint32]string{1: "breaks", 2: "vanished"},
			1,
			[]string{"1:undeliverable", "2:vanished", "3"},
			"",
		},
		{
			"nothing is handed out",
			map[uint32]int64{1: 5 * mib},
			[]uint32{1, 2, 3},
			map[uint32]string{1: "breaks", 2: "breaks", 3: "breaks"},
			1,
			nil, "closed_by_server",
		},
	} {
		refs := imapRefs(7, tt.listed...)
		for i := range refs {
			refs[i].Octets = max(refs[i].Octets, tt.octets[refs[i].UID])
		}
		s := &server{behave: tt.behave, listing: source.Listing{UIDValidity: 7, UIDNext: 10, Messages: len(refs), Refs: refs}}
		lists := 0
		s.onList = func(l source.Listing) source.Listing { // from where it is asked for
			l.Refs = from(l.Refs, s.since[len(s.since)-1].UID)
			lists++
			return l
		}
		l := &ledger{cursor: watched(tt.next)}
		m := box(mailbox.IMAP)
		m.Profile.MaxOctets = 50 * mib
		_, err := poll(t, newPoller(s, l, nil), m)
		if _, code, _, _ := fault.Describe(err); code != tt.code {
			t.Errorf("%s: got error %v, want code %q", tt.name, err, tt.code)
		}
		expectBecame(t, tt.name, l, tt.want...)
		if s.opened != lists {
			t.Errorf("%s: %d log-ins and %d listings, want one for each", tt.name, s.opened, lists)
		}
		if s.opened > 12 {
			t.Errorf("%s: %d log-ins", tt.name, s.opened)
		}
	}
}

// A broken message costs as many sessions as it breaks: the others of its batch share them.
func TestTheOthersOfABatchShareASession(t *testing.T) {
	all := make([]uint32, 50)
	for i := range all {
		all[i] = uint32(i + 1)
	}
	s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 51, Refs: imapRefs(7, all...)}, behave: map[uint32]string{10: "breaks"}}
	l := &ledger{cursor: watched(1)}
	if _, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP)); err != nil {
		t.Fatal(err)
	}
	if got := l.became(); len(got) != 50 || got[9] != "10:undeliverable" {
		t.Errorf("wrote %v, want all, and 10 as undeliverable", got)
	}
	if s.opened != 4 {
		t.Errorf("got %d log-ins, want 4: it broke one with others and three alone", s.opened)
	}
}

// A server that hands out one message a session is slow, not broken.
func TestAServerThatEndsEachSessionAfterAMessage(t *testing.T) {
	behave := map[uint32]string{}
	for uid := range uint32(8) {
		behave[uid+1] = "last"
	}
	s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 9, Refs: imapRefs(7, 1, 2, 3, 4, 5, 6, 7, 8)}, behave: behave}
	l := &ledger{cursor: watched(1)}
	if _, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP)); err != nil {
		t.Fatal(err)
	}
	expectBecame(t, "all", l, "1", "2", "3", "4", "5", "6", "7", "8")
	if s.opened != 8 {
		t.Errorf("got %d log-ins, want one for each message", s.opened)
	}
}

// A server that breaks whatever is asked for is found out after a few log-ins, however much there is.
func TestABrokenServerIsNotLoggedInToForEachMessage(t *testing.T) {
	all := make([]uint32, 50)
	behave := map[uint32]string{}
	for i := range all {
		all[i] = uint32(i + 1)
		behave[all[i]] = "breaks"
	}
	s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 51, Refs: imapRefs(7, all...)}, behave: behave}
	l := &ledger{cursor: watched(1)}
	_, err := poll(t, newPoller(s, l, func(o *poller.Options) { o.BatchSize = 10 }), box(mailbox.IMAP))
	if _, code, _, _ := fault.Describe(err); code != "closed_by_server" {
		t.Errorf("got %v, want closed_by_server", err)
	}
	if len(l.batches) > 0 || s.opened > 8 {
		t.Errorf("got %d log-ins, wrote %v, want 8 at most and nothing", s.opened, l.became())
	}
}

// What has come is written whatever comes then: on IMAP up to the first that has not, so that the cursor is right.
func TestWhatHasComeIsWritten(t *testing.T) {
	for _, code := range []string{"in_use", "login_delay", "connect_refused", "closed_by_server"} {
		refuse := func(n int) error {
			if n > 2 {
				return fault.New(fault.Transient, code, "", errors.New("-ERR"))
			}
			return nil
		}
		s := &server{
			listing: source.Listing{UIDValidity: 7, UIDNext: 5, Messages: 4, Refs: imapRefs(7, 1, 2, 3, 4)},
			behave:  map[uint32]string{3: "breaks"}, onOpen: refuse,
		}
		l := &ledger{cursor: watched(1)}
		_, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP))
		if _, got, _, _ := fault.Describe(err); got != code {
			t.Errorf("IMAP: got %v, want %s", err, code)
		}
		expectBecame(t, "IMAP, "+code, l, "1", "2")
		if c := l.cursors(); len(c) != 1 || c[0].UIDNext != 3 {
			t.Errorf("IMAP, %s: got cursors %+v, want it before the first that has not come", code, c)
		}
		if s.opened != 3 {
			t.Errorf("IMAP, %s: %d log-ins, want no other after the one that was refused", code, s.opened)
		}

		s = &server{listing: drop("a", "b", "c", "d"), behave: map[uint32]string{2: "breaks"}, onOpen: refuse}
		l = &ledger{cursor: mailbox.Cursor{Folder: "INBOX", Listed: true}, open: []receipt.OpenRef{known(9, "x", 1, 0, 0)}}
		_, err = poll(t, newPoller(s, l, func(o *poller.Options) { o.BatchOctets = 100 << 10 }), box(mailbox.POP3))
		if _, got, _, _ := fault.Describe(err); got != code {
			t.Errorf("POP3: got %v, want %s", err, code)
		}
		expectBecame(t, "POP3, "+code, l, "1")
		if len(l.cursors()) > 0 || !slices.Equal(l.batches[0].Closed, []int64{9}) {
			t.Errorf("POP3, %s: got cursors %+v, closed %v, want none, and what is gone", code, l.cursors(), l.batches[0].Closed)
		}
		for _, raw := range l.raws {
			if raw.Octets() != 0 {
				t.Errorf("%s: octets are still held", code)
			}
		}
	}
}

// On POP3 what came after the one that has not is written too.
func TestPOP3WritesAllThatHasCome(t *testing.T) {
	s := &server{listing: drop("a", "b", "c", "d"), behave: map[uint32]string{2: "breaks", 4: "spool"}}
	l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", Listed: true}}
	_, err := poll(t, newPoller(s, l, nil), box(mailbox.POP3))
	if _, code, _, _ := fault.Describe(err); code != "spool" {
		t.Errorf("got %v, want spool", err)
	}
	expectBecame(t, "maildrop", l, "1", "3")
}

// What a new session does not show has vanished only if the server would have to show it.
func TestOnlyWhatIsSurelyGoneHasVanished(t *testing.T) {
	refs := imapRefs(7, 1, 2, 3)
	for _, tt := range []struct {
		name  string
		again func(l *source.Listing)
		want  []string
		code  string
	}{
		{
			"sizes are estimates", func(l *source.Listing) { l.Refs = imapRefs(7, 1, 2, 3); l.Refs[1].Octets, l.Refs[2].Octets = 117, 83 },
			[]string{"1", "2:undeliverable", "3"},
			"",
		},
		{"another client took it", func(l *source.Listing) { l.Refs = imapRefs(7, 1, 3) }, []string{"1", "2:vanished", "3"}, ""},
		{"the same without UIDNEXT", func(l *source.Listing) { l.Refs, l.UIDNext = imapRefs(7, 1, 3), 0 }, []string{"1", "2:vanished", "3"}, ""},
		{"a copy that lags behind", func(l *source.Listing) { l.Refs, l.UIDNext = imapRefs(7, 1), 2 }, []string{"1"}, "listing_incomplete"},
		{"one that lags a little", func(l *source.Listing) { l.Refs, l.UIDNext = imapRefs(7, 1, 2), 3 }, []string{"1"}, "listing_incomplete"},
		{"a restored one", func(l *source.Listing) { l.Refs, l.Reset = imapRefs(7, 1), true }, []string{"1"}, "listing_incomplete"},
		{"another UIDVALIDITY", func(l *source.Listing) { l.Refs, l.UIDValidity = imapRefs(8, 1, 2, 3), 8 }, []string{"1"}, "listing_incomplete"},
	} {
		s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 4, Messages: 3, Refs: refs}, behave: map[uint32]string{2: "breaks"}}
		s.onList = func(l source.Listing) source.Listing {
			if s.opened > 1 {
				tt.again(&l)
			}
			return l
		}
		l := &ledger{cursor: watched(1)}
		_, err := poll(t, newPoller(s, l, nil), box(mailbox.IMAP))
		class, code, _, _ := fault.Describe(err)
		if code != tt.code || (code != "" && class != fault.Transient) {
			t.Errorf("%s: got error %v, want code %q", tt.name, err, tt.code)
		}
		expectBecame(t, tt.name, l, tt.want...)
	}
}

// In a maildrop's new session numbers are others, and size is part of the identity.
func TestAMaildropInANewSession(t *testing.T) {
	for _, tt := range []struct {
		name  string
		again source.Listing
		want  []string
		code  string
	}{
		{"numbers moved", renumber(drop("x", "a", "b", "c"), 400, 100, 200, 300), []string{"1", "3:undeliverable", "4"}, ""},
		{"one is another", renumber(drop("a", "b", "c"), 100, 222, 300), []string{"1", "2:vanished", "3"}, ""},
		{"one is gone", renumber(drop("a", "c"), 100, 300), []string{"1", "2:vanished", "2"}, ""},
	} {
		s := &server{listing: drop("a", "b", "c"), behave: map[uint32]string{2: "breaks"}}
		s.onList = func(l source.Listing) source.Listing {
			if s.opened > 1 {
				s.behave = map[uint32]string{3: "breaks"}
				if tt.name != "numbers moved" {
					s.behave = nil
				}
				return tt.again
			}
			return l
		}
		l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", Listed: true}}
		if _, err := poll(t, newPoller(s, l, nil), box(mailbox.POP3)); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		expectBecame(t, tt.name, l, tt.want...)
	}
	s := &server{listing: drop("a", "b", "c"), behave: map[uint32]string{2: "breaks"}}
	s.onList = func(l source.Listing) source.Listing {
		if s.opened > 1 {
			l = renumber(drop("a", "c"), 100, 300)
			l.Complete = false
		}
		return l
	}
	l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", Listed: true}}
	_, err := poll(t, newPoller(s, l, nil), box(mailbox.POP3))
	if _, code, _, _ := fault.Describe(err); code != "listing_incomplete" {
		t.Errorf("incomplete: got %v, want listing_incomplete", err)
	}
	expectBecame(t, "incomplete", l, "1")
}

// renumber gives a listing these sizes.
func renumber(l source.Listing, octets ...int64) source.Listing {
	for i := range l.Refs {
		l.Refs[i].Octets = octets[i]
	}
	return l
}

// The folder after the one whose last message broke the session is read in a new one, and so are dispositions.
func TestABrokenSessionIsNoOtherFoldersFault(t *testing.T) {
	s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 4, Messages: 3, Refs: imapRefs(7, 1, 2, 3)}, behave: map[uint32]string{2: "breaks"}}
	l := &ledger{
		cursor: watched(1), more: []mailbox.Cursor{{FolderID: 2, Folder: "Work", UIDValidity: 7, UIDNext: 1, Listed: true}},
		due: []receipt.Due{{ReceiptID: 8, Outcome: receipt.Recorded}},
	}
	m := box(mailbox.IMAP)
	m.Disposition = mailbox.Delete
	out, err := poll(t, newPoller(s, l, nil), m)
	if err != nil {
		t.Fatal(err)
	}
	expectBecame(t, "both folders", l, "1", "2:undeliverable", "3", "1", "2:undeliverable", "3")
	if out.Disposed != 2 || len(s.orders) != 2 {
		t.Errorf("disposed of %d, ordered %d, want 2", out.Disposed, len(s.orders))
	}
}
