package receipt

import (
	"cmp"
	"crypto/sha256"
	"time"

	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/trace"
)

// UniqueIDDigest returns what is kept of a POP3 unique-id: the first 16 octets of its sha256. Servers choose unique-ids,
// so that they are neither indexed nor kept themselves.
func UniqueIDDigest(uniqueID string) [16]byte {
	sum := sha256.Sum256([]byte(uniqueID))
	return [16]byte(sum[:16])
}

// Stored is a receipt whose octets are kept and that waits for its decision to be made again.
type Stored struct {
	ReceiptID  int64
	FolderID   int64
	Ref        source.Ref // without Number; on POP3 without UniqueID, of which only a digest is kept
	Generation int
	Ordinal    int
	RawID      int64
	RawOctets  int64
	SeenAt     time.Time
	Tries      int
}

// Unrecordable returns what is written about a message that PostgreSQL refused when it was written alone: its octets are
// kept, and it waits in quarantine. Its items and its trace are left out: one of them is what was refused. One whose
// octets are not all ours keeps its reason, and is not disposed of.
func (r *Receipt) Unrecordable() Receipt {
	u := Receipt{
		ID: r.ID, Ref: r.Ref, Generation: r.Generation, Ordinal: r.Ordinal, SeenAt: r.SeenAt,
		Raw: r.Raw, LoadID: r.LoadID, Tries: r.Tries,
		Plan: Quarantined, Reason: Unrecordable, Dispose: r.Dispose, DisposeIn: r.DisposeIn,
	}
	if r.Reason == TooLarge || r.Raw == nil {
		u.Reason, u.Dispose, u.DisposeIn = cmp.Or(r.Reason, Unrecordable), false, 0
	}
	u.Trace.Add(trace.Record, "unrecordable")
	return u
}
