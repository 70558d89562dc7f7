"""A decoder process that has gone mad: it says whatever its owner's job names as the path of the source."""

import json
import socket
import sys
import time

control = socket.socket(fileno=int(sys.argv[1]))
job = json.loads(control.recv(65_536))
control.recv(65_536)  # the command to connect
control.send(job["source"]["path"].encode())
time.sleep(60)
