package poller_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/poller"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// slow is a server that takes its time.
type slow struct {
	*server
	list, message time.Duration
}

func (s *slow) Open(ctx context.Context, p *mailbox.Profile, username, password string) (poller.Session, error) {
	_, err := s.server.Open(ctx, p, username, password)
	return s, err
}

func (s *slow) List(ctx context.Context, folder string, since source.Since) (source.Listing, error) {
	if err := s.take(ctx, s.list); err != nil {
		return source.Listing{}, err
	}
	l, err := s.server.List(ctx, folder, since)
	l.Refs = from(l.Refs, since.UID)
	return l, err
}

func (s *slow) Fetch(ctx context.Context, refs []source.Ref, most int64, take func(source.Fetched) error) error {
	for _, ref := range refs {
		if err := s.take(ctx, s.message); err != nil {
			return err
		}
		if err := s.server.Fetch(ctx, []source.Ref{ref}, most, take); err != nil {
			return err
		}
	}
	return nil
}

// take lets time go by, or ends the session as package dial does.
func (s *slow) take(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		s.open = false
		return fault.New(fault.Transient, "interrupted", "", ctx.Err())
	}
}

// pollFor polls with a poll_timeout of d, in the time of a synctest bubble.
func pollFor(t *testing.T, d time.Duration, s *slow, l *ledger, m *mailbox.Mailbox, change func(*poller.Options)) (*poller.Outcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	p := newPoller(s.server, l, func(o *poller.Options) {
		o.Openers = map[mailbox.Protocol]poller.Opener{mailbox.IMAP: s, mailbox.POP3: s}
		if change != nil {
			change(o)
		}
	})
	out, err := p.Poll(ctx, mailbox.Lease{MailboxID: 1, Token: 1}, m, mailbox.NewRegistry(nil))
	if ctx.Err() != nil && err == nil {
		t.Errorf("the poll ended after its deadline without an error")
	}
	return out, err
}

func fifty() source.Listing {
	all := make([]uint32, 50)
	for i := range all {
		all[i] = uint32(i + 1)
	}
	return source.Listing{UIDValidity: 7, UIDNext: 51, Messages: 50, Refs: imapRefs(7, all...)}
}

// However short the time, each poll gets further.
func TestEveryPollGetsFurther(t *testing.T) {
	for name, s := range map[string]*slow{
		"a batch takes longer than a poll": {message: 20 * time.Second},
		"listing takes most of the time":   {list: 8*time.Minute + 30*time.Second, message: time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s.server = &server{listing: fifty()}
			l := &ledger{cursor: watched(1)}
			polls := 0
			for more := true; more && polls < 10; polls++ {
				before := len(l.arrivals())
				out, err := pollFor(t, 10*time.Minute, s, l, box(mailbox.IMAP), nil)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if more = out.More; len(l.arrivals()) == before {
					t.Fatalf("%s: poll %d wrote nothing", name, polls)
				}
				l.cursor = l.resume()
			}
			want := fifty().Refs
			for i, a := range l.arrivals() {
				if i >= len(want) || a.Ref.UID != want[i].UID || a.Reason != "" {
					t.Fatalf("%s: message %d is uid %d, %s, want each once in its order", name, i, a.Ref.UID, a.Reason)
				}
			}
			if len(l.arrivals()) != 50 || l.cursor.UIDNext != 51 || polls < 2 && s.message > time.Second {
				t.Errorf("%s: got %d messages, cursor at %d, after %d polls, want all 50", name, len(l.arrivals()), l.cursor.UIDNext, polls)
			}
		})
	}
}

// On POP3 too, where there is no cursor to move.
func TestAMaildropGetsFurther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{server: &server{listing: drop("a", "b", "c", "d")}, message: 4 * time.Minute}
		l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", Listed: true}}
		out, err := pollFor(t, 10*time.Minute, s, l, box(mailbox.POP3), nil)
		if err != nil || !out.More {
			t.Errorf("got more %t, %v, want more", out.More, err)
		}
		expectBecame(t, "maildrop", l, "1", "2")
		if len(l.cursors()) > 0 {
			t.Errorf("the listing is noted as done: %+v", l.cursors())
		}
	})
}

// A poll that cannot get anything done says so, instead of being repeated for ever.
func TestAPollThatIsTooShortSaysSo(t *testing.T) {
	for name, s := range map[string]*slow{
		"one message": {message: 10 * time.Minute},
		"the listing": {list: 10 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			s.server = &server{listing: fifty()}
			l := &ledger{cursor: watched(1), more: []mailbox.Cursor{{FolderID: 2, Folder: "Work", UIDValidity: 7, UIDNext: 1}}}
			out, err := pollFor(t, 10*time.Minute, s, l, box(mailbox.IMAP), nil)
			class, code, _, hint := fault.Describe(err)
			if class != fault.Transient || code != "poll_too_slow" || hint == "" {
				t.Errorf("%s: got %v, want poll_too_slow with a hint", name, err)
			}
			if out.More || out.Partial || len(l.batches) > 0 || s.opened != 1 {
				t.Errorf("%s: got %+v, wrote %v, %d log-ins, want nothing after one", name, out, l.became(), s.opened)
			}
		})
	}
}

// What was fetched is written although the database is slow and the deadline passes.
func TestWritingSurvivesTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{server: &server{listing: fifty()}, message: 11 * time.Second}
		l := &ledger{cursor: watched(1)}
		l.slowly = 65 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		p := newPoller(s.server, l, func(o *poller.Options) {
			o.Openers = map[mailbox.Protocol]poller.Opener{mailbox.IMAP: s}
		})
		if _, err := p.Poll(ctx, mailbox.Lease{}, box(mailbox.IMAP), mailbox.NewRegistry(nil)); err != nil {
			t.Error(err)
		}
		if n := len(l.arrivals()); n < 40 {
			t.Errorf("wrote %d messages, want those that had come", n)
		}
		if ctx.Err() == nil {
			t.Error("the deadline has not passed: nothing was tested")
		}
	})
	synctest.Test(t, func(t *testing.T) { // but not that the daemon stops or has lost the lease
		s := &slow{server: &server{listing: fifty()}, message: time.Second}
		l := &ledger{cursor: watched(1)}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		time.AfterFunc(20*time.Second+500*time.Millisecond, cancel)
		p := newPoller(s.server, l, func(o *poller.Options) {
			o.Openers = map[mailbox.Protocol]poller.Opener{mailbox.IMAP: s}
		})
		if _, err := p.Poll(ctx, mailbox.Lease{}, box(mailbox.IMAP), mailbox.NewRegistry(nil)); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: got %v", err)
		}
		if len(l.batches) > 0 {
			t.Errorf("cancelled: wrote %v", l.became())
		}
	})
	synctest.Test(t, func(t *testing.T) { // nor while it writes
		s := &slow{server: &server{listing: fifty()}}
		l := &ledger{cursor: watched(1), slowly: 5 * time.Minute}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		time.AfterFunc(time.Minute, cancel)
		begun := time.Now()
		p := newPoller(s.server, l, func(o *poller.Options) {
			o.Openers = map[mailbox.Protocol]poller.Opener{mailbox.IMAP: s}
		})
		if _, err := p.Poll(ctx, mailbox.Lease{}, box(mailbox.IMAP), mailbox.NewRegistry(nil)); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while writing: got %v", err)
		}
		if took := time.Since(begun); took != time.Minute {
			t.Errorf("cancelled while writing: took %s, want 1m", took)
		}
	})
}

// To wait for other polls is neither the server's nor the message's fault.
func TestWaitingForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := semaphore.NewWeighted(1000)
		full := func(o *poller.Options) { o.InFlight, o.MaxInFlight = held, 1000 }
		if !held.TryAcquire(1000) {
			t.Fatal("not free")
		}
		s := &slow{server: &server{listing: fifty()}}
		l := &ledger{cursor: watched(1)}
		_, err := pollFor(t, 10*time.Minute, s, l, box(mailbox.IMAP), full)
		if class, code, _, _ := fault.Describe(err); class != fault.Transient || code != "octets_in_flight" {
			t.Errorf("never free: got %v, want octets_in_flight", err)
		}
		time.AfterFunc(5*time.Minute, func() { held.Release(1000) })
		if _, err := pollFor(t, 10*time.Minute, s, l, box(mailbox.IMAP), full); err != nil || len(l.arrivals()) != 50 {
			t.Errorf("free after a while: got %v, %d messages, want all", err, len(l.arrivals()))
		}
		if !held.TryAcquire(1000) {
			t.Error("not everything was given back")
		}
		l.stored = []receipt.Stored{{ReceiptID: 9, RawOctets: 10}} // what is decided again counts too
		if _, err := pollFor(t, 10*time.Minute, s, l, box(mailbox.IMAP), full); err == nil || len(l.stored) != 1 {
			t.Errorf("stored mail: got %v, want that it waits like other mail", err)
		}
		held.Release(1000)
		if _, err := pollFor(t, 10*time.Minute, s, l, box(mailbox.IMAP), full); err != nil || len(l.stored) != 0 || !held.TryAcquire(1000) {
			t.Errorf("stored mail: got %v, %d left, want it decided and everything given back", err, len(l.stored))
		}
	})
}

// When the first folder used the time up, the next one waits for the next poll, which comes at once.
func TestTimeThatOneFolderUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{server: &server{listing: fifty()}, message: 10 * time.Second}
		l := &ledger{cursor: watched(1), more: []mailbox.Cursor{{FolderID: 2, Folder: "Work", UIDValidity: 7, UIDNext: 1}}}
		out, err := pollFor(t, 10*time.Minute, s, l, box(mailbox.IMAP), func(o *poller.Options) { o.BatchSize = 10 })
		if err != nil || !out.More {
			t.Errorf("got more %t, %v, want more", out.More, err)
		}
		var folders []int64
		for _, b := range l.batches {
			folders = append(folders, b.FolderID)
		}
		if !slices.Equal(folders, []int64{1, 1, 1, 1, 1}) {
			t.Errorf("wrote to folders %v, want the five batches of the first", folders)
		}
		if len(s.since) != 1 {
			t.Errorf("listed %d folders, want the first alone", len(s.since))
		}
	})
}
