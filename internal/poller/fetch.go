package poller

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pipeline"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// fetch fills in the octets of a batch, or the reason why they cannot be had. When the session breaks, one message may be
// why: those that are left are then asked for one by one.
func (r *run) fetch(ctx context.Context, w *work, batch []pipeline.Arrival) error {
	if err := r.reopen(ctx, w); err != nil {
		return err
	}
	err := r.fetchSome(ctx, batch)
	if err == nil || !isolates(err) {
		return err
	}
	r.Log.Warn("session broke while fetching: the rest of the batch is fetched one by one", "mailbox_id", r.mailbox.ID,
		"folder", w.folder, "error", err)
	r.hangUp(ctx)
	return r.isolate(ctx, w, batch)
}

// reopen opens a new session after one broke, has the folder listed in it, and finds there what is still to be fetched. An
// error of it is never one message's doing.
func (r *run) reopen(ctx context.Context, w *work) error {
	if r.session != nil {
		return nil
	}
	l, err := r.list(ctx, w.folder, w.again)
	if err != nil {
		return err
	}
	w.listed = l.Refs
	return r.recognise(w, l)
}

// recognise finds the messages that are still to be fetched in a new session's listing: on POP3 each has another number
// there. One is written off as vanished only if the listing would have to show it.
func (r *run) recognise(w *work, l source.Listing) error {
	find := findUID
	if r.mailbox.Profile.Protocol == mailbox.POP3 {
		find = findUniqueID
	}
	look := find(l)
	for i := range w.fetch {
		a := &w.fetch[i]
		if settled(a) {
			continue
		}
		switch shown, certain := look(a); {
		case shown:
		case certain:
			a.Reason = receipt.Vanished
		default:
			return listingIncomplete(w.folder)
		}
	}
	return nil
}

// findUID looks for messages in an IMAP folder's listing. Sizes are not compared: RFC822.SIZE is an estimate of some
// servers. That one is missing is certain only if the server would know of its UID.
func findUID(l source.Listing) func(*pipeline.Arrival) (shown, certain bool) {
	uids := make(map[uint32]bool, len(l.Refs))
	for _, ref := range l.Refs {
		uids[ref.UID] = true
	}
	return func(a *pipeline.Arrival) (shown, certain bool) {
		same := l.UIDValidity == a.Ref.UIDValidity && !l.Reset
		return same && uids[a.Ref.UID], same && (l.UIDNext == 0 || l.UIDNext > a.Ref.UID)
	}
}

// findUniqueID looks for messages in a maildrop's listing and gives them their new numbers. One with another size is
// another message.
func findUniqueID(l source.Listing) func(*pipeline.Arrival) (shown, certain bool) {
	refs := maps.Collect(numbered(l.Refs))
	return func(a *pipeline.Arrival) (shown, certain bool) {
		ref, ok := refs[idKey{receipt.UniqueIDDigest(a.Ref.UniqueID), a.Ordinal}]
		if !ok || ref.Octets != a.Ref.Octets {
			return false, l.Complete
		}
		a.Ref.Number = ref.Number
		return true, true
	}
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
	if len(refs) == 0 {
		return nil
	}
	err := r.ask(ctx, refs, func(f source.Fetched) error {
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

// ask fetches refs in the present session.
func (r *run) ask(ctx context.Context, refs []source.Ref, take func(source.Fetched) error) error {
	return r.network(ctx, func(ctx context.Context) error {
		return r.session.Fetch(ctx, refs, r.mailbox.Profile.MaxOctets, take)
	})
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
