"""Video that is fetched: RTSP, HTTP and files, each read and decoded by a process of its own."""
