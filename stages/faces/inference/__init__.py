"""The trained network as a fixed function: conversion, formats, embedding, galleries."""
