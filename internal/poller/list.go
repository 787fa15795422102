package poller

import (
	"context"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pipeline"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// work is what a listing leaves to be done in one folder.
type work struct {
	folder   string
	folderID int64
	fetch    []pipeline.Arrival // to be fetched, in listing order
	baseline []pipeline.Arrival // POP3: to be noted, not fetched
	closed   []int64            // POP3: no longer listed
	cursor   cursorMove
	again    source.Since // from where a new session lists
	listed   []source.Ref // by the newest session
}

// cursorMove says how a folder's cursor moves while its work is done.
type cursorMove interface {
	// after returns where the cursor stands when a batch is finished, last being the folder's last one; nil: it stays.
	after(batch []pipeline.Arrival, last bool) *receipt.Cursor
}

// probeSpan is how many UIDs below its first message a folder is listed again from, so that there are others to ask for
// when one breaks the session.
const probeSpan = 1000

// listFolder lists an IMAP folder from its cursor on.
func (r *run) listFolder(ctx context.Context, c mailbox.Cursor) (*work, error) {
	l, err := r.list(ctx, c.Folder, source.Since{UIDValidity: c.UIDValidity, UID: c.UIDNext})
	if err != nil {
		return nil, err
	}
	if l.Reset && c.UIDValidity != 0 {
		if c, err = r.beginAnew(ctx, c, l); err != nil {
			return nil, err
		}
	}
	cursor := newUIDCursor(c, l)
	w := &work{folder: c.Folder, folderID: c.FolderID, cursor: cursor, listed: l.Refs}
	now := time.Now()
	for _, ref := range l.Refs {
		if ref.UID < cursor.start && before(ref, c.StartAt) {
			continue // before the start point: no receipt, the cursor passes it
		}
		w.fetch = append(w.fetch, pipeline.Arrival{Ref: ref, SeenAt: now})
	}
	if len(w.fetch) > 0 {
		first := w.fetch[0].Ref.UID
		w.again = source.Since{UIDValidity: l.UIDValidity, UID: first - min(first-1, probeSpan)}
	}
	r.out.Listed += len(w.fetch)
	return w, nil
}

// beginAnew notes that the UIDs which the cursor knows mean other messages now, and returns the cursor to go on with:
// everything since the start point is read again, and matched by content. If the server has changed UIDVALIDITY, as RFC
// 3501 section 2.3.1.1 demands, that tells old and new UIDs apart; else a new epoch does.
func (r *run) beginAnew(ctx context.Context, c mailbox.Cursor, l source.Listing) (mailbox.Cursor, error) {
	if l.UIDValidity != c.UIDValidity {
		r.Log.Warn("UIDVALIDITY changed: the folder is read again and matched by content", "mailbox_id", r.mailbox.ID,
			"folder_id", c.FolderID, "uidvalidity_was", c.UIDValidity, "uidvalidity", l.UIDValidity, "messages", l.Messages)
		c.UIDValidity = 0
		return c, r.Disposer.VoidDispositions(ctx, r.lease, c.FolderID, l.UIDValidity)
	}
	next, err := r.Ledger.NextEpoch(ctx, r.lease, c.FolderID)
	if err != nil {
		return c, err
	}
	r.Log.Warn("UIDNEXT went back although UIDVALIDITY did not change, as after a restore of the mail server: the folder is "+
		"read again and matched by content", "mailbox_id", r.mailbox.ID, "folder_id_was", c.FolderID, "folder_id", next.FolderID,
		"uidvalidity", l.UIDValidity, "uidnext_was", c.UIDNext, "uidnext", l.UIDNext, "messages", l.Messages)
	return next, nil
}

// uidCursor moves an IMAP folder's cursor past the last UID that is finished, and past UIDNEXT when all are. UIDs that
// were given out since the first listing and are not there any more are counted as missed.
type uidCursor struct {
	listing source.Listing
	from    uint32 // lowest UID that is not accounted for
	start   uint32 // what lies below was there at the first listing under this UIDVALIDITY
	fresh   bool   // this is the first listing under it
}

// newUIDCursor returns how c moves with a listing. A cursor without UIDVALIDITY has none that counts.
func newUIDCursor(c mailbox.Cursor, l source.Listing) *uidCursor {
	u := &uidCursor{listing: l, from: max(c.UIDNext, 1)}
	switch l.UIDValidity {
	case c.UIDValidity:
		if c.StartUIDValidity == l.UIDValidity {
			u.start = c.StartUIDNext
		}
	default:
		u.from, u.start, u.fresh = 1, max(l.UIDNext, 1), true
		if n := len(l.Refs); n > 0 {
			u.start = max(u.start, l.Refs[n-1].UID+1)
		}
	}
	return u
}

func (u *uidCursor) after(batch []pipeline.Arrival, last bool) *receipt.Cursor {
	next := u.from
	if n := len(batch); n > 0 {
		next = max(next, batch[n-1].Ref.UID+1)
	}
	if last {
		next = max(next, u.listing.UIDNext)
	}
	if next == u.from && !u.fresh {
		return nil
	}
	c := &receipt.Cursor{UIDValidity: u.listing.UIDValidity, UIDNext: next, Messages: u.listing.Messages}
	if u.fresh {
		c.StartUIDNext = u.start
	}
	counted := max(u.from, u.start)
	if next > counted {
		c.Missed = int64(next - counted)
		for i := range batch {
			if batch[i].Ref.UID >= counted {
				c.Missed--
			}
		}
	}
	u.from, u.fresh = next, false
	return c
}

// before reports whether a message came before the start point. INTERNALDATE has whole seconds. A message whose date
// is not known counts as new: nothing is lost.
func before(ref source.Ref, start time.Time) bool {
	return !start.IsZero() && !ref.InternalDate.IsZero() && ref.InternalDate.Before(start.Truncate(time.Second))
}
