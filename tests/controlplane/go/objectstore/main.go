// SPDX-License-Identifier: Apache-2.0

// Objectstore serves S3 from a folder at an address of this machine.  It is the
// Versity gateway with its own store of files, and without its other backends, which
// take longer to build than all else.
//
//	objectstore FOLDER ADDRESS
//
// FOLDER must have the folders buckets, attributes, versions and accounts.  The one
// account is read from ROOT_ACCESS_KEY and ROOT_SECRET_KEY.
package main

import (
	"context"
	"log"
	"os"
	"path/filepath"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: objectstore FOLDER ADDRESS")
	}
	folder := os.Args[1]
	attributes := filepath.Join(folder, "attributes")
	store, err := meta.NewSideCar(attributes)
	if err != nil {
		log.Fatal(err)
	}
	files, err := posix.New(filepath.Join(folder, "buckets"), store, posix.PosixOpts{
		SideCarDir:    attributes,
		VersioningDir: filepath.Join(folder, "versions"),
		Concurrency:   64,
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(embedgw.RunVersityGW(context.Background(), files, &embedgw.Config{
		RootUserAccess:    os.Getenv("ROOT_ACCESS_KEY"),
		RootUserSecret:    os.Getenv("ROOT_SECRET_KEY"),
		IAMDir:            filepath.Join(folder, "accounts"), // else 404 for unknown keys
		Ports:             []string{os.Args[2]},
		HealthPath:        "/health",
		MaxConnections:    256,
		MaxRequests:       256,
		MultipartMaxParts: 10_000,
		KeepAlive:         true,
		Quiet:             true,
	}))
}
