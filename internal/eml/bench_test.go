package eml

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"testing"

	"github.com/emersion/go-message"
)

// benchMessages are a message of usual size and one with a large attachment.
func benchMessages() map[string][]byte {
	line := strings.Repeat("The quick brown fox=2C it is said=2C jumps over the dog=2E ", 1)
	text := leafOf("text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable", strings.Repeat(line+"\n", 50))
	html := leafOf("text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable", "<p>"+strings.Repeat(line+"<br>\n", 70))
	var fields strings.Builder
	for range 12 {
		fields.WriteString("Received: from a.example (a.example [192.0.2.1])\n\tby b.example with ESMTPS id 1234567890\n\tfor <x@b.example>; Fri, 21 Nov 1997 09:55:06 -0600\n")
	}
	fields.WriteString(head + "To: x@b.example\nDate: Fri, 21 Nov 1997 09:55:06 -0600\nMessage-ID: <1@a.example>\n")
	file := leafOf("application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64",
		fold(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("0123456789abcdef"), 10<<20/16)), 76))
	return map[string][]byte{
		"small": crlf(fields.String() + multi("alternative", text, html)),
		"large": crlf(fields.String() + multi("mixed", text, file)),
	}
}

func BenchmarkRead(b *testing.B) {
	for name, octets := range benchMessages() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(octets)))
			b.ReportAllocs()
			for b.Loop() {
				Read(octets, Limits{})
			}
		})
	}
}

func BenchmarkView(b *testing.B) {
	for name, octets := range benchMessages() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(octets)))
			b.ReportAllocs()
			for b.Loop() {
				Read(octets, Limits{}).View()
			}
		})
	}
}

// BenchmarkDecode reads the structure and decodes every leaf, which is what BenchmarkGoMessage does.
func BenchmarkDecode(b *testing.B) {
	for name, octets := range benchMessages() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(octets)))
			b.ReportAllocs()
			for b.Loop() {
				m := Read(octets, Limits{})
				for p := range m.Walk() {
					if !p.IsMultipart() {
						_, _ = io.Copy(io.Discard, m.Decode(p))
					}
				}
			}
		})
	}
}

// BenchmarkGoMessage reads the same messages with go-message's own reader.
func BenchmarkGoMessage(b *testing.B) {
	for name, octets := range benchMessages() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(octets)))
			b.ReportAllocs()
			for b.Loop() {
				e, err := message.Read(bytes.NewReader(octets))
				if err != nil {
					b.Fatal(err)
				}
				err = e.Walk(func(_ []int, e *message.Entity, _ error) error {
					if e.MultipartReader() == nil {
						_, _ = io.Copy(io.Discard, e.Body)
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
