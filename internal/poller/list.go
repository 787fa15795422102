package poller

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pipeline"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// work is what a listing leaves to be done in one folder.
type work struct {
	folderID int64
	fetch    []pipeline.Arrival // to be fetched, in listing order
	baseline []pipeline.Arrival // POP3: to be noted, not fetched
	closed   []int64            // POP3: no longer listed
	cursor   cursorMove
}

// cursorMove says how a folder's cursor moves while its work is done.
type cursorMove interface {
	// after returns where the cursor stands when a batch is finished, last being the folder's last one; nil: it stays.
	after(batch []pipeline.Arrival, last bool) *receipt.Cursor
}

// listFolder lists an IMAP folder from its cursor on.
func (r *run) listFolder(ctx context.Context, c mailbox.Cursor) (work, error) {
	l, err := r.session.List(ctx, c.Folder, source.Since{UIDValidity: c.UIDValidity, UID: c.UIDNext})
	if err != nil {
		return work{}, err
	}
	first := c.UIDValidity == 0
	if l.Reset && !first && l.UIDValidity == c.UIDValidity {
		return work{}, fault.New(fault.Permanent, "uidnext_decreased",
			"the server gives out UIDs again that it has used before, which RFC 3501 forbids: have its admin change the folder's UIDVALIDITY",
			fmt.Errorf("folder %q: UIDNEXT %d is below the cursor's %d although UIDVALIDITY is still %d", c.Folder, l.UIDNext, c.UIDNext, l.UIDValidity))
	}
	if l.Reset && !first {
		r.Log.Warn("UIDVALIDITY changed: the folder is read again and matched by content", "mailbox_id", r.mailbox.ID,
			"folder_id", c.FolderID, "uidvalidity_was", c.UIDValidity, "uidvalidity", l.UIDValidity, "messages", l.Messages)
		if err := r.Disposer.VoidDispositions(ctx, r.lease, c.FolderID, l.UIDValidity); err != nil {
			return work{}, err
		}
	}
	w := work{folderID: c.FolderID}
	now := time.Now()
	for _, ref := range l.Refs {
		if (first || l.Reset) && before(ref, c.StartAt) {
			continue // before the start point: no receipt, the cursor passes it
		}
		w.fetch = append(w.fetch, pipeline.Arrival{Ref: ref, SeenAt: now})
	}
	r.out.Listed += len(w.fetch)
	w.cursor = &uidCursor{listing: l, from: c.UIDNext, start: first, fresh: first || l.Reset}
	return w, nil
}

// uidCursor moves an IMAP folder's cursor past the last UID that is finished, and past UIDNEXT when all are. UIDs that
// were given out since the last listing and are not there any more are counted as missed.
type uidCursor struct {
	listing source.Listing
	from    uint32 // lowest UID that is not accounted for
	start   bool   // first listing ever: it is the start point
	fresh   bool   // first listing, or a new UIDVALIDITY: what lies before is not ours to count
}

func (u *uidCursor) after(batch []pipeline.Arrival, last bool) *receipt.Cursor {
	next := max(u.from, 1)
	if u.fresh {
		next = 1
	}
	if n := len(batch); n > 0 {
		next = max(next, batch[n-1].Ref.UID+1)
	}
	if last {
		next = max(next, u.listing.UIDNext)
	}
	if next == u.from && !u.fresh {
		return nil
	}
	c := &receipt.Cursor{UIDValidity: u.listing.UIDValidity, UIDNext: next, Messages: u.listing.Messages, Start: u.start}
	if !u.fresh {
		c.Missed = int64(next-u.from) - int64(len(batch))
	}
	u.from, u.fresh, u.start = next, false, false
	return c
}

// before reports whether a message came before the start point. INTERNALDATE has whole seconds. A message whose date
// is not known counts as new: nothing is lost.
func before(ref source.Ref, start time.Time) bool {
	return !start.IsZero() && !ref.InternalDate.IsZero() && ref.InternalDate.Before(start.Truncate(time.Second))
}

// idKey is a unique-id's digest and, for the odd server that shows one twice in a listing, which of them.
type idKey struct {
	digest  [16]byte
	ordinal int
}

// listMaildrop lists a POP3 maildrop and compares it with the open receipts. A unique-id is only unique while its
// message exists (RFC 1939 section 7): with another size it is another message, a new generation.
func (r *run) listMaildrop(ctx context.Context, c mailbox.Cursor) (work, error) {
	first := !c.Listed
	l, err := r.session.List(ctx, c.Folder, source.Since{Dates: first && !c.StartAt.IsZero()})
	if err != nil {
		return work{}, err
	}
	open, err := r.openRefs(ctx, c.FolderID)
	if err != nil {
		return work{}, err
	}
	w := work{folderID: c.FolderID, cursor: maildropCursor{listing: l, start: first, changed: first || l.Messages != c.Messages}}
	now := time.Now()
	ordinals := make(map[[16]byte]int, len(l.Refs))
	r.shown = make(map[idKey]source.Ref, len(l.Refs))
	var fresh []pipeline.Arrival
	for _, ref := range l.Refs {
		digest := receipt.UniqueIDDigest(ref.UniqueID)
		key := idKey{digest, ordinals[digest]}
		ordinals[digest]++
		r.shown[key] = ref
		if known, ok := open[key]; ok && known.Octets == ref.Octets {
			delete(open, key)
			continue
		}
		fresh = append(fresh, pipeline.Arrival{Ref: ref, SeenAt: now, Ordinal: key.ordinal, Baseline: first && before(ref, c.StartAt)})
	}
	if err := r.generations(ctx, c.FolderID, fresh); err != nil {
		return work{}, err
	}
	for _, a := range fresh {
		if a.Baseline {
			w.baseline = append(w.baseline, a)
		} else {
			w.fetch = append(w.fetch, a)
		}
	}
	if l.Complete { // what is left was not shown, or is another message now
		for _, known := range open {
			w.closed = append(w.closed, known.ReceiptID)
		}
		slices.Sort(w.closed)
	}
	r.out.Listed += len(w.fetch)
	return w, nil
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
	start   bool
	changed bool
}

func (d maildropCursor) after(batch []pipeline.Arrival, last bool) *receipt.Cursor {
	if !last || !d.listing.Complete || (len(batch) == 0 && !d.changed) {
		return nil
	}
	return &receipt.Cursor{Messages: d.listing.Messages, Start: d.start}
}
