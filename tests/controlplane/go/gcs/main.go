// SPDX-License-Identifier: Apache-2.0

// Gcs serves Google's interfaces for objects, from memory and to everybody, at an
// address of this machine.  It is the library of fake-gcs-server without its command.
//
//	gcs HOST PORT
package main

import (
	"log"
	"net"
	"os"
	"strconv"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: gcs HOST PORT")
	}
	host := os.Args[1]
	port, err := strconv.ParseUint(os.Args[2], 10, 16)
	if err != nil {
		log.Fatal(err)
	}
	_, err = fakestorage.NewServerWithOptions(fakestorage.Options{
		Scheme:     "http",
		Host:       host,
		Port:       uint16(port),
		PublicHost: net.JoinHostPort(host, os.Args[2]), // else lists are not told
	})
	if err != nil {
		log.Fatal(err)
	}
	select {}
}
