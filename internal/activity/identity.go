package activity

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// IdentityVersion is the version of the recipe that IdentityOf follows. It is hashed into every key and kept beside it:
// a changed recipe makes other keys, never keys that mean something else.
const IdentityVersion = 1

// FooterOctets is how much longer than the other a copy's normalised text may be, where one is a prefix of the other:
// gateways and lists append footers, not letters.
const FooterOctets = 8 << 10

// IdentityOf returns the identity that a message claims: sha256 over its Message-ID, the addr-spec of its From and its
// Date as an instant; without a Message-ID over From, Date, Subject and the normalised text. Subject, To and Cc are no
// part of the first form because gateways rewrite them. A zero date is a message without one.
//
// A key finds candidates only; Content decides whether two messages with one key are one e-mail.
func IdentityOf(messageID, fromAddr string, date time.Time, subject, text string) Identity {
	h := sha256.New()
	writeField(h, "postroom identity")
	writeField(h, strconv.Itoa(IdentityVersion))
	id := canonicalMessageID(messageID)
	if id != "" {
		writeField(h, "message-id")
		writeField(h, id)
	} else {
		writeField(h, "text")
		writeField(h, NormalizeText(subject))
		sum := sha256.Sum256([]byte(NormalizeText(text)))
		writeField(h, string(sum[:]))
	}
	writeField(h, foldAddress(fromAddr))
	if date.IsZero() {
		writeField(h, "")
	} else {
		writeField(h, date.UTC().Format(time.RFC3339)) // whole seconds: RFC 5322 knows no finer
	}
	ident := Identity{Version: IdentityVersion, MessageIDDigest: MessageIDDigest(id)}
	h.Sum(ident.Key[:0])
	return ident
}

// writeField hashes s behind its length, so that no two lists of fields look alike.
func writeField(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

// MessageIDDigest returns the first 16 octets of sha256 of the canonical Message-ID: without angle brackets and white
// space, its case kept (RFC 5322 section 3.6.4). It is nil when nothing is left.
func MessageIDDigest(id string) []byte {
	id = canonicalMessageID(id)
	if id == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(id))
	return sum[:16]
}

func canonicalMessageID(id string) string {
	id = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			return -1 // folded, or damaged, on its way
		}
		return r
	}, id)
	return strings.TrimSuffix(strings.TrimPrefix(id, "<"), ">")
}

// AddressDigest returns the first 16 octets of sha256 of the folded address, and nil for an empty one.
func AddressDigest(address string) []byte {
	address = foldAddress(address)
	if address == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(address))
	return sum[:16]
}

// foldAddress is a part of the recipe: it must stay as it is, whatever else folds addresses.
func foldAddress(address string) string {
	return strings.ToLower(strings.TrimSpace(address))
}

// NormalizeText returns the form of a text that copies of one e-mail share: valid UTF-8, every run of white space one
// blank, none at the ends, no control or zero-width characters. Line wrapping, line ends and trailing blanks, which
// gateways change, make no difference.
func NormalizeText(s string) string {
	var b strings.Builder
	b.Grow(min(len(s), 1<<16))
	blank := false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			blank = true
			continue
		case unicode.IsControl(r), r == '\u00AD', r == '\u200B', r == '\u200C', r == '\u200D', r == '\u2060', r == '\uFEFF':
			continue
		}
		if blank && b.Len() > 0 {
			b.WriteByte(' ')
		}
		blank = false
		b.WriteRune(r) // an invalid octet is ranged over, and written, as U+FFFD
	}
	return b.String()
}

// ContentOf returns the Content of a copy: sum is the sha256 of its octets, text its body as a reader sees it (HTML
// reduced to text), not normalised. how says why the copy counts as authenticated.
func ContentOf(sum [32]byte, text string, attachments []Attachment, authenticated bool, how string) Content {
	c := Content{
		SHA256:         sum,
		Text:           NormalizeText(text),
		Attachments:    len(attachments),
		Authenticated:  authenticated,
		Authentication: how,
	}
	c.TextDigest = sha256.Sum256([]byte(c.Text))
	c.AttachmentsDigest = attachmentsDigest(attachments)
	return c
}

// attachmentsDigest does not depend on the order or the names of the attachments: gateways change both.
func attachmentsDigest(attachments []Attachment) (sum [32]byte) {
	sums := make([][32]byte, len(attachments))
	for i := range attachments {
		sums[i] = attachments[i].SHA256
	}
	slices.SortFunc(sums, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	for i := range sums {
		h.Write(sums[i][:])
	}
	h.Sum(sum[:0])
	return sum
}

// SameText reports whether two normalised texts are those of one e-mail: they are equal, or one is the other with a
// footer: it begins with the other as whole words and is at most FooterOctets longer. An empty text is the prefix of
// none: otherwise an empty copy, which anyone can make, would swallow the letter that comes after it.
func SameText(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	return a == b || (canBePrefix(len(a), len(b)) && strings.HasPrefix(b, a) && b[len(a)] == ' ')
}

// canBePrefix reports whether a text of short octets may be one of long octets without its footer.
func canBePrefix(short, long int) bool {
	return short > 0 && short < long && long-short <= FooterOctets
}

// Known is what is kept of a copy that was met before, when its text is not at hand.
type Known struct {
	TextDigest        [32]byte
	TextOctets        int64  // of the normalised text
	TextHeads         []byte // 8 octets of sha256 of its first 64 octets, of its first 128, and so on while there are as many
	AttachmentsDigest [32]byte
	Attachments       int
}

const (
	firstHead  = 64 // octets; of less, a digest could be undone by guessing
	headOctets = 8
)

// textHeads returns the heads of a normalised text. They tell what a shorter text is not a prefix of, and, when the text
// itself was deleted, what it may well be a prefix of.
func textHeads(text string) []byte {
	var heads []byte
	h := sha256.New()
	for done, n := 0, firstHead; n <= len(text); done, n = n, 2*n {
		h.Write([]byte(text[done:n]))
		heads = append(heads, h.Sum(nil)[:headOctets]...)
	}
	return heads
}

// Known returns what is kept of c.
func (c *Content) Known() Known {
	return Known{
		TextDigest: c.TextDigest, TextOctets: int64(len(c.Text)), TextHeads: textHeads(c.Text),
		AttachmentsDigest: c.AttachmentsDigest, Attachments: c.Attachments,
	}
}

// Likeness is how a copy compares with a known one.
type Likeness int

// The likenesses.
const (
	Different  Likeness = iota
	Same                // the same e-mail
	Likely              // the known text is longer and begins as this one does for half of it or more: SameText can tell
	NeedsWords          // the known text is longer and this one so short that only SameText can tell
)

// Compare says whether c and the known copy are one e-mail, by the rule of SameText. Attachments are no evidence
// against it, because copies lose them on their way. Only where both texts are empty do they decide: then the copies
// are one e-mail if their attachments are the same or one has none.
func (c *Content) Compare(k Known) Likeness {
	n := int(min(k.TextOctets, math.MaxInt32))
	switch {
	case k.TextDigest == c.TextDigest:
		if len(c.Text) > 0 || k.Attachments == 0 || c.Attachments == 0 || k.AttachmentsDigest == c.AttachmentsDigest {
			return Same
		}
	case canBePrefix(n, len(c.Text)):
		if c.Text[n] == ' ' && sha256.Sum256([]byte(c.Text[:n])) == k.TextDigest {
			return Same
		}
	case canBePrefix(len(c.Text), n):
		return c.compareHead(k)
	}
	return Different
}

// compareHead compares the longest head of c with that of a longer known text.
func (c *Content) compareHead(k Known) Likeness {
	heads := textHeads(c.Text)
	switch n := len(heads); {
	case n == 0 || len(k.TextHeads) < n:
		return NeedsWords
	case bytes.Equal(heads[n-headOctets:], k.TextHeads[n-headOctets:n]):
		return Likely
	}
	return Different
}

// Better reports whether c is the better copy to show than one with these properties: an authenticated one comes first;
// among equals the one with more attachments, if its words are the same. A copy that is as good is not better: the
// first stays. So nobody who knows a message can have a copy with other words shown in its place.
func (c *Content) Better(authenticated bool, attachments int, sameWords bool) bool {
	if c.Authenticated != authenticated {
		return c.Authenticated
	}
	return sameWords && c.Attachments > attachments
}
