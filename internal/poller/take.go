package poller

import (
	"context"
	"errors"
	"slices"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pipeline"
)

// baselineBatch is how many messages of a maildrop's start point are noted at once: they have no octets.
const baselineBatch = 5000

// take fetches, decides and writes the work of one folder, batch by batch.
func (r *run) take(ctx context.Context, w *work) error {
	closed := w.closed
	for rest := w.baseline; len(rest) > 0; {
		n := min(len(rest), baselineBatch)
		b := pipeline.Batch{FolderID: w.folderID, Arrivals: rest[:n]}
		if rest = rest[n:]; len(rest)+len(w.fetch) == 0 { // what comes in from now on is new
			b.Closed, b.Cursor = closed, w.cursor.after(nil, true)
		}
		if err := r.write(ctx, b); err != nil {
			return err
		}
		r.progress += n
	}
	for rest := w.fetch; len(rest) > 0; {
		if r.late() && r.progress > 0 {
			r.out.More = true
			return nil
		}
		n := r.batch(len(rest), func(i int) int64 { return rest[i].Ref.Octets })
		b := pipeline.Batch{FolderID: w.folderID, Arrivals: rest[:n], Closed: closed}
		if err := r.fetchAndWrite(ctx, w, b, n == len(rest)); err != nil {
			return err
		}
		rest, closed = rest[n:], nil
	}
	if len(w.baseline)+len(w.fetch) > 0 {
		return nil
	}
	if cursor := w.cursor.after(nil, true); cursor != nil || len(closed) > 0 {
		return r.write(ctx, pipeline.Batch{FolderID: w.folderID, Closed: closed, Cursor: cursor})
	}
	return nil
}

// batch returns how many of n messages make the next batch: up to BatchSize, and up to BatchOctets but for the first.
func (r *run) batch(n int, octetsOf func(int) int64) int {
	var octets int64
	for i := range n {
		octets += octetsOf(i)
		if i == r.BatchSize || (i > 0 && octets > r.BatchOctets) {
			return i
		}
	}
	return n
}

// fetchAndWrite fetches one batch and has it written; the cursor moves with it. Where the fetch fails half way, what has
// come by then is written all the same.
func (r *run) fetchAndWrite(ctx context.Context, w *work, b pipeline.Batch, last bool) error {
	var octets int64
	for i := range b.Arrivals {
		octets += min(max(b.Arrivals[i].Ref.Octets, 1), r.mailbox.Profile.MaxOctets)
	}
	release, err := r.reserve(ctx, octets)
	if err != nil {
		return err
	}
	defer release()
	defer closeAll(b.Arrivals)
	failed := r.fetch(ctx, w, b.Arrivals)
	if errors.Is(ctx.Err(), context.Canceled) {
		return errors.Join(failed, ctx.Err())
	}
	if failed != nil {
		b.Arrivals, last = r.finished(b.Arrivals), false
	}
	b.Cursor = w.cursor.after(b.Arrivals, last)
	if failed != nil && len(b.Arrivals) == 0 && len(b.Closed) == 0 && b.Cursor == nil {
		return failed
	}
	if err := r.write(ctx, b); err != nil {
		return err
	}
	r.progress += len(b.Arrivals)
	return failed
}

// finished returns the arrivals of a batch that can be written although others of it failed. On IMAP the cursor moves
// with them, so that they are those before the first that failed.
func (r *run) finished(batch []pipeline.Arrival) []pipeline.Arrival {
	open := func(a pipeline.Arrival) bool { return !settled(&a) }
	if r.mailbox.Profile.Protocol == mailbox.POP3 {
		return slices.DeleteFunc(slices.Clone(batch), open)
	}
	if i := slices.IndexFunc(batch, open); i >= 0 {
		return batch[:i]
	}
	return batch
}
