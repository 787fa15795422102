package poller

import (
	"context"
	"slices"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/pipeline"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// attempts is how many sessions a message may break, asked for alone, before it is quarantined as undeliverable; and how
// many sessions may break without a message handed out before the server itself is doubted.
const attempts = 3

// probes is how many other messages a server that is doubted is asked for.
const probes = 3

// isolate fetches what is left of a batch after the session broke, one message at a time, with a new session only after
// one has broken. A message is blamed when it has broken several sessions and the server hands out others meanwhile;
// else it is the server that is broken, and nothing is decided.
func (r *run) isolate(ctx context.Context, w *work, batch []pipeline.Arrival) error {
	breaks := make([]int, len(batch))
	doubt := 0 // sessions that broke since a message was handed out
	for i := suspect(batch, breaks); i >= 0; i = suspect(batch, breaks) {
		a := &batch[i]
		if err := r.reopen(ctx, w); err != nil {
			return err
		}
		err := r.fetchSome(ctx, batch[i:i+1])
		if err != nil && !isolates(err) {
			return err
		}
		if err != nil {
			r.hangUp(ctx)
		}
		if a.Raw != nil {
			doubt = 0
		}
		if settled(a) {
			continue
		}
		breaks[i]++
		if doubt++; doubt == attempts {
			works, probed := r.probe(ctx, w, batch)
			if probed != nil {
				return probed
			}
			if !works {
				return err
			}
			doubt = 0
		}
		if breaks[i] == attempts {
			r.Log.Warn("a message cannot be fetched: it goes to quarantine, its octets stay on the server",
				"mailbox_id", r.mailbox.ID, "folder", w.folder, "uid", a.Ref.UID, "octets", a.Ref.Octets, "error", err)
			a.Reason = receipt.Undeliverable
		}
	}
	return nil
}

// suspect returns the first of those messages that are not settled and have broken the fewest sessions; -1: all are
// settled.
func suspect(batch []pipeline.Arrival, breaks []int) int {
	found := -1
	for i := range batch {
		if !settled(&batch[i]) && (found < 0 || breaks[i] < breaks[found]) {
			found = i
		}
	}
	return found
}

// probe reports whether the server hands out any message but the suspects. If it has no other than a single suspect, that
// it can be logged in to and lists must do.
func (r *run) probe(ctx context.Context, w *work, batch []pipeline.Arrival) (works bool, err error) {
	var tried []source.Ref
	for range probes {
		if err := r.reopen(ctx, w); err != nil {
			return false, err
		}
		ref, ok := candidate(w, batch, tried, r.mailbox.Profile.MaxOctets)
		if !ok {
			break
		}
		tried = append(tried, ref)
		err := r.ask(ctx, []source.Ref{ref}, func(f source.Fetched) error {
			if f.Raw == nil {
				return nil
			}
			works = true
			return f.Raw.Close()
		})
		if err != nil && !isolates(err) {
			return works, err
		}
		if err != nil {
			r.hangUp(ctx)
		}
		if works {
			return true, nil
		}
	}
	unsettled := 0
	for i := range batch {
		if !settled(&batch[i]) {
			unsettled++
		}
	}
	return len(tried) == 0 && unsettled <= 1, nil
}

// candidate returns the smallest listed message that a server can be probed with: not one of the batch that has not come,
// nor one that cannot be had.
func candidate(w *work, batch []pipeline.Arrival, tried []source.Ref, maxOctets int64) (best source.Ref, ok bool) {
	type name struct {
		uid      uint32
		uniqueID string
	}
	nameOf := func(ref source.Ref) name { return name{ref.UID, ref.UniqueID} }
	excluded := make(map[name]bool)
	for _, ref := range tried {
		excluded[nameOf(ref)] = true
	}
	for i := range batch {
		excluded[nameOf(batch[i].Ref)] = batch[i].Raw == nil
	}
	for i := range w.fetch {
		if w.fetch[i].Reason != "" {
			excluded[nameOf(w.fetch[i].Ref)] = true
		}
	}
	for _, ref := range w.listed {
		if excluded[nameOf(ref)] || ref.Octets <= 0 || ref.Octets > maxOctets {
			continue
		}
		if !ok || ref.Octets < best.Octets {
			best, ok = ref, true
		}
	}
	return best, ok
}

// isolates reports whether an error may be one message's doing: the session broke while the server sent it, or what it
// sent cannot be understood. A server or a disk of ours that says it cannot, now, says nothing about a message.
func isolates(err error) bool {
	if fault.ClassOf(err) == fault.Poison {
		return true
	}
	_, code, _, _ := fault.Describe(err)
	return fault.ClassOf(err) == fault.Transient && slices.Contains([]string{
		"closed_by_server", "deadline", "fetch_incomplete", "network", "octet_budget", "protocol_error", "refused",
		"reply_too_long", "server_bug", "server_bye",
	}, code)
}
