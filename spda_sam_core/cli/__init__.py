"""The command line `spda-sam`: what people do without ROS. Commands are entry points; training brings its own."""
