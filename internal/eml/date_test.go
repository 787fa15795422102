package eml

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDate(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Fri, 21 Nov 1997 09:55:06 -0600":               "1997-11-21T09:55:06-06:00",
		"21 Nov 1997 09:55:06 -0600":                    "1997-11-21T09:55:06-06:00",
		"Fri,21 Nov 1997 09:55:06 -0600":                "1997-11-21T09:55:06-06:00",
		"Fri, 21 Nov 97 09:55:06 GMT":                   "1997-11-21T09:55:06Z",
		"21 Nov 03 09:55 +0100":                         "2003-11-21T09:55:00+01:00",
		"21 Nov 103 09:55 +0100":                        "2003-11-21T09:55:00+01:00",
		"Fri, 21 Nov 1997 09:55 -0600":                  "1997-11-21T09:55:00-06:00",
		"Fri, 21 Nov 1997 09:55:06":                     "1997-11-21T09:55:06Z",
		"Fri, 21 Nov 1997":                              "1997-11-21T00:00:00Z",
		"Fri, 21 Nov 1997 09:55:06 -0600 (CST)":         "1997-11-21T09:55:06-06:00",
		"Fri, 21 Nov (a (b)) 1997 09(c):55:06 -0600":    "1997-11-21T09:55:06-06:00",
		"Fri, 21 Nov 1997 09 : 55 : 06 -0600":           "1997-11-21T09:55:06-06:00",
		"Fri, 21 Nov 1997 09:55:06 (EDT) -0400":         "1997-11-21T09:55:06-04:00",
		"Fri, 21 Nov 1997 09:55:06 +0200 CEST":          "1997-11-21T09:55:06+02:00",
		"Fri, 21 Nov 1997 09:55:06 EST":                 "1997-11-21T09:55:06-05:00",
		"Fri, 21 Nov 1997 09:55:06 PDT":                 "1997-11-21T09:55:06-07:00",
		"Fri, 21 Nov 1997 09:55:06 CEST":                "1997-11-21T09:55:06+02:00",
		"Fri, 21 Nov 1997 09:55:06 IST":                 "1997-11-21T09:55:06+05:30",
		"Fri, 21 Nov 1997 09:55:06 Z":                   "1997-11-21T09:55:06Z",
		"Fri, 21 Nov 1997 09:55:06 A":                   "1997-11-21T09:55:06Z",
		"Fri, 21 Nov 1997 09:55:06 GMT+0200":            "1997-11-21T09:55:06+02:00",
		"Fri, 21 Nov 1997 09:55:06 UTC-03:30":           "1997-11-21T09:55:06-03:30",
		"Fri, 21 Nov 1997 09:55:06 +02:00":              "1997-11-21T09:55:06+02:00",
		"Fri, 21 Nov 1997 09:55:06 +2":                  "1997-11-21T09:55:06+02:00",
		"Fri, 21 Nov 1997 09:55:06-0600":                "1997-11-21T09:55:06-06:00",
		"Fri, 21 Nov 1997 09:55:06.123 -0600":           "1997-11-21T09:55:06-06:00",
		"Fri, 21 Nov 1997 09:55:06 -0000":               "1997-11-21T09:55:06Z",
		"Fri, 21 Nov 1997 09:55:60 GMT":                 "1997-11-21T09:55:59Z",
		"Fri, 21 Nov 1997 9:55:06 PM -0600":             "1997-11-21T21:55:06-06:00",
		"Fri, 21 Nov 1997 12:05:00 AM -0600":            "1997-11-21T00:05:00-06:00",
		"Fri, 21 Nov 1997 9:55PM":                       "1997-11-21T21:55:00Z",
		"Fri Nov 21 09:55:06 1997":                      "1997-11-21T09:55:06Z",
		"Fri Nov  1 09:55:06 CET 1997":                  "1997-11-01T09:55:06+01:00",
		"November 21, 1997 09:55:06 -0600":              "1997-11-21T09:55:06-06:00",
		"21-Nov-1997 09:55:06 -0600":                    "1997-11-21T09:55:06-06:00",
		"21-Nov-97 09:55:06 GMT":                        "1997-11-21T09:55:06Z",
		"1997-11-21 09:55:06 -0600":                     "1997-11-21T09:55:06-06:00",
		"1997-11-21T09:55:06Z":                          "1997-11-21T09:55:06Z",
		"1997-11-21T09:55:06.5+02:00":                   "1997-11-21T09:55:06+02:00",
		"Fr, 21 Dez 2018 09:55:06 +0100":                "2018-12-21T09:55:06+01:00",
		"mar., 3 avr. 2018 09:55:06 +0200":              "2018-04-03T09:55:06+02:00",
		"FRI, 21 NOV 1997 09:55:06 -0600":               "1997-11-21T09:55:06-06:00",
		"\"Fri, 21 Nov 1997 09:55:06 -0600\"":           "1997-11-21T09:55:06-06:00",
		"Thu, 29 Feb 2024 00:00:00 +0000":               "2024-02-29T00:00:00Z",
		"Fri, 21 Nov 1997 09:55:06 +9999":               "1997-11-21T09:55:06Z",
		"Fri, 21 Nov 1997 09:55:06 Mars/Olympus":        "1997-11-21T09:55:06Z",
		"Fri, 21 Nov 1997 09:55:06 +0545":               "1997-11-21T09:55:06+05:45",
		"Fri, 21 Nov 1997 09:55:06 =?utf-8?q?x?= -0600": "1997-11-21T09:55:06-06:00",
	} {
		got, ok := ParseDate(in)
		if !ok || got.Format(time.RFC3339) != want {
			t.Errorf("%q: got %s, %t, want %s", in, got.Format(time.RFC3339), ok, want)
		}
	}
}

func TestParseDateBad(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "yesterday", "%DATE%", "Fri, 30 Feb 1997 00:00:00 +0000", "Fri, 21 Nov 1997 25:00:00 +0000", "21 Nov", "Nov 1997",
		"Fri, 21 Nov 1997 09:75:00 +0000", "1997-13-01T00:00:00Z", "Fri, 32 Nov 1997 00:00:00", "Fri, 21 Nov 0001 00:00:00", "1/2/2003",
		"Fri, 21 Nov 99999999999999999999", ":", "-", "+", "1:",
	} {
		if got, ok := ParseDate(in); ok {
			t.Errorf("%q: got %s, want none", in, got)
		}
	}
}

func TestParseDateZoneKnown(t *testing.T) {
	t.Parallel()
	for zone, unknown := range map[string]bool{
		"": false, " GMT": false, " +0100": false, " XYZT": true, " +9999": true, " J": true, " -1200": false, " +1400": false,
	} {
		d, ok := parseDate("21 Nov 1997 09:55:06" + zone)
		if !ok || d.unknownZone != unknown {
			t.Errorf("zone %q: got unknown %t (%t), want %t", zone, d.unknownZone, ok, unknown)
		}
	}
}

// TestParseDateRoundTrip checks that dates in the form of RFC 5322 come back, zone and all.
func TestParseDateRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := time.FixedZone("", 60*rapid.IntRange(-15*60, 15*60).Draw(t, "zone"))
		want := time.Unix(rapid.Int64Range(0, 250_000_000_000).Draw(t, "seconds"), 0).In(zone)
		if want.Year() > 9999 {
			return
		}
		in := want.Format(time.RFC1123Z)
		if got, ok := ParseDate(in); !ok || got.Format(time.RFC3339) != want.Format(time.RFC3339) {
			t.Fatalf("%q: got %s, %t, want %s", in, got, ok, want)
		}
	})
	rapid.Check(t, func(t *rapid.T) { // anything
		in := rapid.StringOf(rapid.RuneFrom([]rune("0123456789 :+-,.()JanFebT=Z/"))).Draw(t, "value")
		if got, ok := ParseDate(in); ok {
			if _, err := got.MarshalJSON(); err != nil {
				t.Fatalf("%q: got %s, which JSON cannot hold: %v", in, got, err)
			}
		}
	})
}
