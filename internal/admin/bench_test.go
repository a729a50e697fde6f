package admin_test

import (
	"fmt"
	"testing"

	"clusterbackup/internal/admin"
	"clusterbackup/internal/admin/admintest"
	"clusterbackup/transport"
)

// BenchmarkFiles is what one listed file costs on its way from the daemon to cbctl.
func BenchmarkFiles(b *testing.B) {
	fake := &admintest.Fake{}
	for i := range 20_000 {
		fake.AllFiles = append(fake.AllFiles, file(fmt.Sprintf("2024/holiday/f%06d.jpg", i)))
	}
	c := client(b, serve(b, fake, func(transport.Peer) error { return nil }))
	b.ReportAllocs()
	for n := 0; n < b.N; {
		for page, err := range c.Files(b.Context(), admin.FileQuery{Source: "photos", Limit: b.N - n}) {
			if err != nil {
				b.Fatal(err)
			}
			n += len(page.Files)
		}
	}
}
