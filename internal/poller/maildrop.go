package poller

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pipeline"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// idKey is a unique-id's digest and, for the odd server that shows one twice in a listing, which of them.
type idKey struct {
	digest  [16]byte
	ordinal int
}

// numbered returns the refs of a maildrop's listing with their keys.
func numbered(refs []source.Ref) iter.Seq2[idKey, source.Ref] {
	return func(yield func(idKey, source.Ref) bool) {
		ordinals := make(map[[16]byte]int, len(refs))
		for _, ref := range refs {
			digest := receipt.UniqueIDDigest(ref.UniqueID)
			key := idKey{digest, ordinals[digest]}
			ordinals[digest]++
			if !yield(key, ref) {
				return
			}
		}
	}
}

// listMaildrop lists a POP3 maildrop and compares it with the open receipts. A unique-id is only unique while its
// message exists (RFC 1939 section 7): with another size it is another message, a new generation.
func (r *run) listMaildrop(ctx context.Context, c mailbox.Cursor) (*work, error) {
	start := r.startOf(c)
	l, err := r.list(ctx, c.Folder, source.Since{Dates: start == byDate})
	if err != nil {
		return nil, err
	}
	if start == asBaseline && !l.Complete { // what it does not show would be taken for new the next time
		return nil, listingIncomplete(c.Folder)
	}
	open, err := r.openRefs(ctx, c.FolderID)
	if err != nil {
		return nil, err
	}
	w := &work{
		folder: c.Folder, folderID: c.FolderID, listed: l.Refs,
		cursor: maildropCursor{listing: l, changed: start != known || l.Messages != c.Messages},
	}
	now := time.Now()
	r.shown = make(map[idKey]source.Ref, len(l.Refs))
	var fresh []pipeline.Arrival
	for key, ref := range numbered(l.Refs) {
		r.shown[key] = ref
		if was, ok := open[key]; ok && was.Octets == ref.Octets {
			delete(open, key)
			continue
		}
		baseline := start == asBaseline || (start == byDate && before(ref, c.StartAt))
		fresh = append(fresh, pipeline.Arrival{Ref: ref, SeenAt: now, Ordinal: key.ordinal, Baseline: baseline})
	}
	if err := r.generations(ctx, c.FolderID, fresh); err != nil {
		return nil, err
	}
	for _, a := range fresh {
		if a.Baseline {
			w.baseline = append(w.baseline, a)
		} else {
			w.fetch = append(w.fetch, a)
		}
	}
	if l.Complete { // what is left was not shown, or is another message now
		for _, was := range open {
			w.closed = append(w.closed, was.ReceiptID)
		}
		slices.Sort(w.closed)
	}
	r.out.Listed += len(w.fetch)
	return w, nil
}

// maildropStart says what counts as new in a maildrop's listing.
type maildropStart int

const (
	known      maildropStart = iota // it was listed before: what has no open receipt
	asBaseline                      // nothing: what is there at the first complete listing came before the start point
	byDate                          // what came since the start point, or has no date
	everything
)

// startOf says what counts as new. A mailbox that was read before in another account, or this one by IMAP, has its start
// point behind it: what came in meanwhile must not pass for older.
func (r *run) startOf(c mailbox.Cursor) maildropStart {
	byIMAP := c.UIDValidity != 0
	switch {
	case c.Listed && !byIMAP:
		return known
	case r.mailbox.StartKind == mailbox.StartDate, r.mailbox.StartKind == mailbox.StartNow && (c.Moved || byIMAP):
		return byDate
	case r.mailbox.StartKind == mailbox.StartNow:
		return asBaseline
	}
	return everything
}

// openRefs returns the open receipts of a maildrop.
func (r *run) openRefs(ctx context.Context, folderID int64) (map[idKey]receipt.OpenRef, error) {
	refs, err := r.Ledger.OpenRefs(ctx, folderID)
	if err != nil {
		return nil, err
	}
	open := make(map[idKey]receipt.OpenRef, len(refs))
	for _, ref := range refs {
		open[idKey{ref.Digest, ref.Ordinal}] = ref // in order of generation: the newest stays
	}
	return open, nil
}

// generations counts up from the highest generation in which each unique-id was ever used.
func (r *run) generations(ctx context.Context, folderID int64, arrivals []pipeline.Arrival) error {
	if len(arrivals) == 0 {
		return nil
	}
	digests := make([][16]byte, len(arrivals))
	for i := range arrivals {
		digests[i] = receipt.UniqueIDDigest(arrivals[i].Ref.UniqueID)
	}
	used, err := r.Ledger.MaxGeneration(ctx, folderID, digests)
	if err != nil {
		return err
	}
	for i := range arrivals {
		if g, ok := used[digests[i]]; ok {
			arrivals[i].Generation = g + 1
		}
	}
	return nil
}

// maildropCursor notes a maildrop's complete listing once its work is done.
type maildropCursor struct {
	listing source.Listing
	changed bool
}

func (d maildropCursor) after(batch []pipeline.Arrival, last bool) *receipt.Cursor {
	if !last || !d.listing.Complete || (len(batch) == 0 && !d.changed) {
		return nil
	}
	return &receipt.Cursor{Messages: d.listing.Messages}
}

// listingIncomplete says that a listing does not show what must be there or may be there.
func listingIncomplete(folder string) error {
	return fault.New(fault.Transient, "listing_incomplete", "if it stays so, look at the mail server's log: its listings contradict each other",
		errors.New("the listing of folder \""+folder+"\" is not complete: what it does not show may be there all the same"))
}
