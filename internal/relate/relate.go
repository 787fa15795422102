// Package relate decides what a message belongs to: whether its recipient wants it, which message it answers, and who
// its parties are.
//
// It has no I/O of its own: the party directory is behind Resolver. It never fails a message: what cannot be resolved
// now is recorded unresolved and resolved later.
package relate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
)

// MaxCorrelations is how many messages a message can be looked for to answer: its In-Reply-To, then the nearest of its
// References. A hostile message names a million.
const MaxCorrelations = 32

// Accept applies the recipient's filter. When ok is false, reason names the rule that ignores the message.
func Accept(recipient *mailbox.Mailbox) (reason receipt.Reason, ok bool) {
	if recipient.Accept == mailbox.AcceptNone {
		return receipt.NotAccepted, false
	}
	return "", true
}

// Correlations returns the messages that one with these header fields answers, the best first: In-Reply-To in its
// order, then References from the last, which is the parent, to the first (RFC 5322 section 3.6.4). Each is named once.
func Correlations(inReplyTo, references []string) []activity.Correlation {
	var out []activity.Correlation
	seen := make(map[string]bool)
	add := func(method, id string) bool {
		digest := activity.MessageIDDigest(id)
		if digest != nil && !seen[string(digest)] {
			seen[string(digest)] = true
			out = append(out, activity.Correlation{Method: method, MessageIDDigest: digest})
		}
		return len(out) < MaxCorrelations
	}
	for _, id := range inReplyTo {
		if !add("in_reply_to", id) {
			return out
		}
	}
	for _, id := range slices.Backward(references) {
		if !add("references", id) {
			return out
		}
	}
	return out
}

// Resolver is the party directory. It is asked once a batch.
type Resolver interface {
	// ResolveParties returns the entries that the directory has for each address; Type, ID, Name and OwnerID of a
	// Party are set. Addresses come folded (lower case), and are the keys of the answer.
	ResolveParties(ctx context.Context, addresses []string) (map[string][]activity.Party, error)
}

// Resolve asks the directory who the parties of the activities are, and fills in their Type, ID, OwnerID and Resolved.
// Parties that have an ID already, or no address, are left alone. Of several entries Choose takes one.
//
// When the directory fails, the activities stay as they are, Resolved false, and the error is returned to be logged:
// the mail is recorded all the same.
func Resolve(ctx context.Context, directory Resolver, activities []*activity.Activity) error {
	addresses := unresolved(activities)
	if len(addresses) == 0 {
		return nil
	}
	entries, err := directory.ResolveParties(ctx, addresses)
	if err != nil {
		return fmt.Errorf("resolve %d addresses: %w", len(addresses), err)
	}
	for _, a := range activities {
		for i := range a.Parties {
			p := &a.Parties[i]
			if !asks(p) {
				continue
			}
			p.Resolved = true
			if e, ok := Choose(entries[fold(p.Address)]); ok {
				p.Type, p.ID, p.OwnerID = e.Type, e.ID, e.OwnerID
			}
		}
	}
	return nil
}

// unresolved returns the addresses to ask for, folded, each once, in order.
func unresolved(activities []*activity.Activity) []string {
	var addresses []string
	for _, a := range activities {
		for i := range a.Parties {
			if asks(&a.Parties[i]) {
				addresses = append(addresses, fold(a.Parties[i].Address))
			}
		}
	}
	slices.Sort(addresses)
	return slices.Compact(addresses)
}

func asks(p *activity.Party) bool { return p.ID == "" && !p.Resolved && fold(p.Address) != "" }

func fold(address string) string { return strings.ToLower(strings.TrimSpace(address)) }

// Choose returns the entry that stands for an address with several: a user before a queue, a contact, an account, a
// lead and other types, then the lowest id. ok is false when there is none.
func Choose(entries []activity.Party) (entry activity.Party, ok bool) {
	if len(entries) == 0 {
		return activity.Party{}, false
	}
	return slices.MinFunc(entries, func(a, b activity.Party) int {
		return cmp.Or(cmp.Compare(rank(a.Type), rank(b.Type)), cmp.Compare(a.Type, b.Type),
			cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID)) // shorter first: ids are often numbers
	}), true
}

func rank(partyType string) int {
	switch partyType {
	case "user":
		return 0
	case "queue":
		return 1
	case "contact":
		return 2
	case "account":
		return 3
	case "lead":
		return 4
	}
	return 5
}
