package poller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pipeline"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// baselineBatch is how many messages of a maildrop's start point are noted at once: they have no octets.
const baselineBatch = 1000

// attempts is how often a message is asked for alone, each time in a session of its own, before it is quarantined as
// undeliverable.
const attempts = 3

// take fetches, decides and writes the work of one folder, batch by batch.
func (r *run) take(ctx context.Context, w work) error {
	for chunk := range slices.Chunk(w.baseline, baselineBatch) {
		if err := r.write(ctx, pipeline.Batch{FolderID: w.folderID, Arrivals: chunk}); err != nil {
			return err
		}
	}
	closed := w.closed
	for rest := w.fetch; len(rest) > 0; {
		if r.late() {
			r.out.More = true
			return nil
		}
		n := r.batch(rest)
		b := pipeline.Batch{FolderID: w.folderID, Arrivals: rest[:n], Closed: closed}
		if err := r.fetchAndWrite(ctx, b, w.cursor, n == len(rest)); err != nil {
			return err
		}
		rest, closed = rest[n:], nil
	}
	if len(w.fetch) > 0 {
		return nil
	}
	if cursor := w.cursor.after(nil, true); cursor != nil || len(closed) > 0 {
		return r.write(ctx, pipeline.Batch{FolderID: w.folderID, Closed: closed, Cursor: cursor})
	}
	return nil
}

// batch returns how many of the arrivals make the next batch: up to BatchSize, and up to BatchOctets but for the first.
func (r *run) batch(arrivals []pipeline.Arrival) int {
	var octets int64
	for i := range arrivals {
		octets += arrivals[i].Ref.Octets
		if i == r.BatchSize || (i > 0 && octets > r.BatchOctets) {
			return i
		}
	}
	return len(arrivals)
}

// fetchAndWrite fetches one batch and has it written. The octets that are held count against InFlight; the cursor moves
// with the batch.
func (r *run) fetchAndWrite(ctx context.Context, b pipeline.Batch, cursor cursorMove, last bool) error {
	var octets int64
	for i := range b.Arrivals {
		octets += min(max(b.Arrivals[i].Ref.Octets, 1), r.mailbox.Profile.MaxOctets)
	}
	octets = min(octets, r.MaxInFlight)
	if err := r.InFlight.Acquire(ctx, octets); err != nil {
		return err
	}
	defer r.InFlight.Release(octets)
	if err := r.fetch(ctx, b.Arrivals); err != nil {
		closeAll(b.Arrivals)
		return err
	}
	b.Cursor = cursor.after(b.Arrivals, last)
	return r.write(ctx, b)
}

// fetch fills in the octets of the arrivals, or the reason why they cannot be had. When the session breaks, the ones
// that are left are asked for one by one, so that one message which the server or the session chokes on is found. It is
// blamed only if the server hands out others meanwhile; else it is the server that is broken, and nothing is decided.
func (r *run) fetch(ctx context.Context, arrivals []pipeline.Arrival) error {
	err := r.fetchSome(ctx, arrivals)
	if err == nil || ctx.Err() != nil || !isolates(err) {
		return err
	}
	r.Log.Warn("session broke while fetching: the rest of the batch is fetched one by one", "mailbox_id", r.mailbox.ID,
		"folder", arrivals[0].Ref.Folder, "error", err)
	for attempt := 1; attempt <= attempts; attempt++ {
		for i := range arrivals {
			a := &arrivals[i]
			if settled(a) {
				continue
			}
			alone := r.fetchAlone(ctx, a)
			if alone == nil {
				continue
			}
			if ctx.Err() != nil || !isolates(alone) {
				return alone
			}
			err = alone
			if attempt == attempts {
				r.Log.Warn("a message cannot be fetched: it goes to quarantine, its octets stay on the server",
					"mailbox_id", r.mailbox.ID, "folder", a.Ref.Folder, "uid", a.Ref.UID, "octets", a.Ref.Octets, "error", alone)
				a.Reason = receipt.Undeliverable
			}
		}
		if !slices.ContainsFunc(arrivals, func(a pipeline.Arrival) bool { return a.Raw != nil }) {
			return err
		}
	}
	return nil
}

// fetchAlone fetches one message in a session of its own.
func (r *run) fetchAlone(ctx context.Context, a *pipeline.Arrival) error {
	shown, err := r.reopen(ctx, a)
	if err != nil {
		return err
	}
	if !shown {
		a.Reason = receipt.Vanished
		return nil
	}
	alone := []pipeline.Arrival{*a}
	err = r.fetchSome(ctx, alone)
	*a = alone[0]
	return err
}

// reopen opens a new session that has the arrival's folder listed again, and finds the arrival in it. A message-number
// is another one in every session.
func (r *run) reopen(ctx context.Context, a *pipeline.Arrival) (shown bool, err error) {
	if err := r.connect(ctx); err != nil {
		return false, err
	}
	l, err := r.session.List(ctx, a.Ref.Folder, source.Since{UIDValidity: a.Ref.UIDValidity, UID: a.Ref.UID})
	if err != nil {
		return false, err
	}
	ordinal := 0
	for _, ref := range l.Refs {
		if ref.UIDValidity != a.Ref.UIDValidity || ref.UID != a.Ref.UID || ref.UniqueID != a.Ref.UniqueID {
			continue
		}
		if ordinal < a.Ordinal {
			ordinal++
			continue
		}
		a.Ref.Number = ref.Number
		return ref.Octets == a.Ref.Octets, nil
	}
	if r.mailbox.Profile.Protocol == mailbox.POP3 && !l.Complete {
		return false, fault.New(fault.Transient, "listing_incomplete", "",
			errors.New("the maildrop's listing is not complete: what it does not show may be there all the same"))
	}
	return false, nil
}

// within names a message in one session: by UID on IMAP, by message-number on POP3.
type within struct {
	uid    uint32
	number int
}

// fetchSome fetches the arrivals that are not settled, in the present session. On an error some may be settled.
func (r *run) fetchSome(ctx context.Context, arrivals []pipeline.Arrival) error {
	byRef := make(map[within]*pipeline.Arrival, len(arrivals))
	refs := make([]source.Ref, 0, len(arrivals))
	for i := range arrivals {
		if a := &arrivals[i]; !settled(a) {
			byRef[within{a.Ref.UID, a.Ref.Number}] = a
			refs = append(refs, a.Ref)
		}
	}
	err := r.session.Fetch(ctx, refs, r.mailbox.Profile.MaxOctets, func(f source.Fetched) error {
		a := byRef[within{f.Ref.UID, f.Ref.Number}]
		if a == nil || settled(a) {
			if f.Raw != nil {
				_ = f.Raw.Close() // not asked for
			}
			return nil
		}
		return settle(a, f)
	})
	if err != nil {
		return err
	}
	for i := range arrivals {
		if !settled(&arrivals[i]) {
			return fault.New(fault.Transient, "fetch_incomplete", "",
				fmt.Errorf("folder %q: a message of %d octets was neither delivered nor refused", arrivals[i].Ref.Folder, arrivals[i].Ref.Octets))
		}
	}
	return nil
}

// settled reports whether the octets are there, or the reason why they cannot be had.
func settled(a *pipeline.Arrival) bool { return a.Raw != nil || a.Reason != "" }

// settle takes what was fetched. An error about one message becomes its reason; any other ends the fetch.
func settle(a *pipeline.Arrival, f source.Fetched) error {
	switch {
	case f.Err == nil:
		a.Raw = f.Raw
	case errors.Is(f.Err, source.ErrTooLarge):
		a.Reason, a.Raw, a.HeaderOnly = receipt.TooLarge, f.Raw, f.Raw != nil
	case errors.Is(f.Err, source.ErrVanished):
		a.Reason = receipt.Vanished
	case fault.ClassOf(f.Err) == fault.Poison:
		a.Reason = receipt.Undeliverable
	default:
		return f.Err
	}
	return nil
}

// isolates reports whether an error may be one message's doing: the session broke while the server sent it, or what it
// sent cannot be understood. A server or a disk of ours that says it cannot, now, says nothing about a message.
func isolates(err error) bool {
	if fault.ClassOf(err) == fault.Poison {
		return true
	}
	switch _, code, _, _ := fault.Describe(err); code {
	case "closed_by_server", "deadline", "fetch_incomplete", "network", "octet_budget", "protocol_error", "refused", "reply_too_long",
		"server_bug", "server_bye":
		return fault.ClassOf(err) == fault.Transient
	}
	return false
}
