// Package forward reads wrappers: it takes the originals out of them, finds out whose mail they are, and decides
// whether the wrapper can be trusted.
//
// It does not decide what becomes of a message: that is the pipeline's. It has no I/O but the spool for originals too
// long for the heap.
//
// Invariants:
//   - exactly one level is unwrapped; an original's octets are those of its part, byte for byte, with a transfer encoding
//     undone and nothing else; what might be cut short is refused as a whole, with a defect;
//   - nothing that a stranger can write authenticates: not From, not a marker of Exchange's, not a Received or
//     Authentication-Results field below our own mail exchanger's, nothing inside the original;
//   - an authenticated sender counts only for the recipient mailbox whose address it is;
//   - all evidence is kept and shown, also what decided nothing.
package forward

import (
	"regexp"
	"slices"
	"strings"

	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/mailbox"
)

// byHost finds what a Received field says after "by". All hits are compared, wherever in the field they stand, since a
// client chooses its name in "from": one that says "by" must not hide the host that really wrote the field.
var byHost = regexp.MustCompile(`(?i)\bby\s+([A-Za-z0-9._-]+)`)

// forAddress finds the recipient in a Received field.
var forAddress = regexp.MustCompile(`(?i)\sfor\s+<?([^\s<>;()]+@[^\s<>;()]+)>?`)

// border returns the index of the Received field in h that our own mail exchanger wrote when it took the message in:
// the topmost one by a host of mxHosts, or the topmost one at all if there are none. What stands above was written by our
// own servers; everything below may be the sender's. It is -1 if there is no such field: then nothing is above it.
//
// mxHosts must name every host that takes mail from outside.
func border(h eml.Header, mxHosts []string) int {
	for i, f := range h {
		if !named(f, "Received") {
			continue
		}
		if len(mxHosts) == 0 {
			return i
		}
		for _, hit := range byHost.FindAllSubmatch(f.Value, -1) {
			host := strings.TrimSuffix(string(hit[1]), ".")
			if slices.ContainsFunc(mxHosts, func(mx string) bool { return strings.EqualFold(mx, host) }) {
				return i
			}
		}
	}
	return -1
}

// named reports whether f has this name, exactly as RFC 5322 writes it: our own servers leave no space before the colon.
func named(f eml.Field, name string) bool {
	return strings.EqualFold(f.Name, name) && len(f.Raw) > len(f.Name) && f.Raw[len(f.Name)] == ':'
}

// soleSender returns the address in From if there is exactly one field with exactly one address in it. Two are a way to
// show one sender to the server that authenticates and another to us.
func soleSender(h eml.Header) (string, bool) {
	fields := h.All("From")
	if len(fields) != 1 {
		return "", false
	}
	addrs := eml.ParseAddresses(fields[0])
	if len(addrs) != 1 || !strings.Contains(addrs[0].Address, "@") {
		return "", false
	}
	return mailbox.FoldAddress(addrs[0].Address), true
}

func domainOf(addr string) string {
	return strings.ToLower(addr[strings.LastIndexByte(addr, '@')+1:])
}

func mxHosts(forward *mailbox.Mailbox) []string {
	if forward == nil || forward.Profile == nil {
		return nil
	}
	return forward.Profile.MXHosts
}
